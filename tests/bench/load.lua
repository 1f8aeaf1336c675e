-- The load on an HTTP server, for wrk. Arguments: a prefix for idempotency keys, an API key, and "reserve" or
-- "alternate" (reserve and settle in turn). The mix of calls is that of traffic.py.
--
-- wrk does not tell a script which connection a request or response belongs to. So reservations go on a stack, and
-- the next connection settles the newest: every reservation is settled once, soon after it was made.

local threads = {}

function setup(thread)
   thread:set("thread_number", #threads)
   table.insert(threads, thread)
end

local MODELS = { { "openai", "gpt-5.4" }, { "anthropic", "claude-sonnet-4-6" } }
local RESERVE = '{"idempotency_key":"%s","user":"user-%d","cost_center":"cost-center-%d","agent_type":"agent-%d",'
   .. '"provider":"%s","model":"%s","input_tokens":%d,"max_output_tokens":%d}'
local SETTLE = '{"idempotency_key":"%s","usage":{"input_tokens":%d,"output_tokens":%d}}'

local held = {}
local counter = 0
local alternate, prefix

-- Global, so that done() can read them from outside the thread.
accepted = 0
refused = 0
first_refusal = ""

function init(args)
   prefix = args[1] .. "-" .. thread_number .. "-"
   alternate = args[3] == "alternate"
   wrk.method = "POST"
   wrk.headers["Content-Type"] = "application/json"
   wrk.headers["Authorization"] = "Bearer " .. args[2]
end

function request()
   counter = counter + 1
   local key = prefix .. counter
   local input, output = 800 + counter % 400, 100 + counter % 50
   if alternate and #held > 0 then
      local path = "/v1/reservations/" .. table.remove(held) .. "/settle"
      return wrk.format(nil, path, nil, SETTLE:format(key, input, output))
   end
   local user, rest = counter % 20, math.floor(counter / 20)
   local model = MODELS[math.floor(rest / 4) % 2 + 1]
   local body = RESERVE:format(key, user, user % 4, rest % 4, model[1], model[2], input, 2 * output)
   return wrk.format(nil, "/v1/reservations", nil, body)
end

function response(status, headers, body)
   if status < 200 or status > 299 then
      refused = refused + 1
      if first_refusal == "" then first_refusal = status .. " " .. body end
      return
   end
   accepted = accepted + 1
   if alternate and status == 201 then
      table.insert(held, body:match('"reservation_id": ?"(%d+)"'))
   end
end

function done(summary, latency, requests)
   local all_accepted, all_refused, refusal = 0, 0, ""
   for _, thread in ipairs(threads) do
      all_accepted = all_accepted + thread:get("accepted")
      all_refused = all_refused + thread:get("refused")
      if refusal == "" then refusal = thread:get("first_refusal") end
   end
   local errors = summary.errors
   print(string.format("seconds %.6f", summary.duration / 1e6))
   print(string.format("accepted %d", all_accepted))
   print(string.format("refused %d", all_refused))
   print(string.format("broken %d", errors.connect + errors.read + errors.write + errors.timeout))
   print(string.format("p99_ms %.3f", latency:percentile(99) / 1000))
   print("refusal " .. refusal:gsub("\n", " "))
end
