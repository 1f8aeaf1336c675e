-- A flood of lists of reserves, for wrk. Arguments: a prefix for idempotency keys, an API key, operations in a list,
-- lists a second. Every connection sends its next list as soon as the one before is answered, whatever Retry-After says;
-- with lists a second above 0, all of them together send so many.

local ffi = require("ffi")
ffi.cdef [[
   struct timespec { long seconds; long nanoseconds; };
   int clock_gettime(int clock, struct timespec *time);
]]
local MONOTONIC = 1

local threads = {}

function setup(thread)
   table.insert(threads, thread)
end

local RESERVE = '{"op":"reserve","idempotency_key":"%%s-%d","user":"user-%d","agent_type":"agent","provider":"openai",'
   .. '"model":"gpt-5.4","input_tokens":800,"max_output_tokens":200}'

local counter = 0
local prefix
local interval_ms
local next_ms = 0
local pieces = {}  -- of a body, with the place of every key between two of them

-- Global, so that done() can read them from outside the thread.
granted = 0
lists = 0
refused = 0
other = ""

function init(args)
   prefix = args[1] .. "-"
   local lists_per_second = tonumber(args[4])
   if lists_per_second > 0 then
      interval_ms = 1000 / lists_per_second
      delay = pace  -- wrk asks a function of this name, if there is one, how long to wait before a request
   end
   local operations = {}
   for i = 1, tonumber(args[3]) do operations[i] = RESERVE:format(i, i % 20) end
   local body = '{"operations":[' .. table.concat(operations, ",") .. "]}"
   for piece in (body .. "%s"):gmatch("(.-)%%s") do
      table.insert(pieces, piece)
      table.insert(pieces, "")
   end
   table.remove(pieces)
   wrk.method = "POST"
   wrk.headers["Content-Type"] = "application/json"
   wrk.headers["Authorization"] = "Bearer " .. args[2]
end

function pace()
   local time = ffi.new("struct timespec")
   ffi.C.clock_gettime(MONOTONIC, time)
   local now_ms = tonumber(time.seconds) * 1000 + tonumber(time.nanoseconds) / 1e6
   next_ms = math.max(next_ms + interval_ms, now_ms)
   return math.floor(next_ms - now_ms)
end

function request()
   counter = counter + 1
   local key = prefix .. counter
   for i = 2, #pieces, 2 do pieces[i] = key end
   return wrk.format(nil, "/v1/operations", nil, table.concat(pieces))
end

function response(status, headers, body)
   if status == 200 then
      local _, found = body:gsub('"status": ?201', "")
      granted = granted + found
      lists = lists + 1
   elseif status == 503 or status == 429 then
      refused = refused + 1
   elseif other == "" then
      other = status .. " " .. body
   end
end

function done(summary, latency, requests)
   local all_granted, all_lists, all_refused, first_other = 0, 0, 0, ""
   for _, thread in ipairs(threads) do
      all_granted = all_granted + thread:get("granted")
      all_lists = all_lists + thread:get("lists")
      all_refused = all_refused + thread:get("refused")
      if first_other == "" then first_other = thread:get("other") end
   end
   local errors = summary.errors
   print(string.format("seconds %.6f", summary.duration / 1e6))
   print(string.format("granted %d", all_granted))
   print(string.format("lists %d", all_lists))
   print(string.format("refused %d", all_refused))
   print(string.format("broken %d", errors.connect + errors.read + errors.write + errors.timeout))
   print("other " .. first_other:gsub("\n", " "))
end
