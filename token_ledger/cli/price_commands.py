"""The rows of the table of commands that are about prices."""

from token_ledger.cli.command_rows import JSON, TENANT, Argument, Command, Group
from token_ledger.cli.model_filter import MODELS, OF_NAME, OF_PROVIDER

MODEL = Argument(
    name="model", example="openai/gpt-5.4",
    help="provider and model; `*` in the model stands for anything",
)  # fmt: skip
OF_TENANT = Argument(
    name="--tenant", example="acme", help="name of the tenant whose prices count; without it, the global price book"
)
AT = Argument(
    name="--at", example="2026-12-01", help="what is in force at this date or instant, in UTC; without it, now"
)  # fmt: skip
SINCE = Argument(
    name="--from", example="2026-12-01", help="from this date or instant on, in UTC; without it, from now on"
)


def _rate(kind: str, what: str, example: str) -> Argument:
    return Argument(name=f"--{kind}", example=example, help=f"dollars per million tokens {what}")


RATES = (
    _rate("input", "of input", "2.50"),
    _rate("output", "of output", "10"),
    _rate("cache-read", "read from the cache; without it, the rate of input", "0.25"),
    _rate("cache-write-5m", "written to the cache for 5 minutes; without it, the rate of input", "3.125"),
    _rate("cache-write-1h", "written to the cache for 1 hour; without it, the rate of 5 minutes", "5"),
    _rate("reasoning", "of reasoning; without it, the rate of output", "10"),
)

OTHER_RATES = Argument(
    name="--other", example="web_searches=10,audio_input=32",
    help="rates of other kinds: dollars per million tokens, per thousand of what is counted, per hour of audio",
)  # fmt: skip

TIERS = Argument(
    name="--tiers", example="272000:input=4,output=12;600000:input=5,output=15",
    help="rates above a number of input tokens",
)  # fmt: skip
TIER_MODE = Argument(
    name="--tier-mode", choices=("cliff", "marginal"), default="cliff",
    help="whether a tier is for the whole call, or for the input beyond its threshold only (then without output)",
)  # fmt: skip

SERVICE_TIERS = Argument(
    name="--service-tiers", example="batch:input=1.1,output=6.5;priority:input=4.4,output=26",
    help="rates of other ways of serving a call: flex, priority, batch, fast",
)  # fmt: skip

PRICE_COMMANDS = (
    Command(
        name="prices list", group=Group.PRICES, run="token_ledger.cli.prices:list_prices",
        help="list models with what they cost",
        details="One line a model: provider/model, then its rates, and `own` where the"
        " tenant has set the price.",
        example="token-ledger prices list openai --tenant acme",
        arguments=(
            MODELS, OF_PROVIDER, OF_NAME, AT, OF_TENANT, JSON,
        ),
    ),
    Command(
        name="prices show", group=Group.PRICES, run="token_ledger.cli.prices:show_price",
        help="show what a model costs, and all its dated entries",
        details="The model may have any of its names, or stand without its provider. Says which entry of the price"
        " book a name leads to, and why.",
        example="token-ledger prices show openai/gpt-5.4 --tenant acme",
        arguments=(
            Argument(name="model", example="openai/gpt-5.4", help="provider and model, or the model alone"),
            AT, OF_TENANT, JSON,
        ),
    ),
    Command(
        name="prices set", group=Group.PRICES, run="token_ledger.cli.prices:set_price",
        help="give a model a price of the tenant's own",
        details="It counts in place of the global price from its date on, in every process, for calls that are reserved"
        " from then on. Give --input and --output, or --other for what is priced without tokens, or --free, or"
        " --withdraw. Running it again changes nothing. As the model `*/*` it is a stand-in: models without a price are"
        " held at it and flagged `unpriced`, not refused.",
        example="token-ledger prices set acme azure/gpt-5.4 --input 2.20 --output 13 --from 2026-12-01",
        arguments=(
            TENANT, MODEL, *RATES, OTHER_RATES, TIERS, TIER_MODE, SERVICE_TIERS,
            Argument(name="--free", is_flag=True, help="calls cost nothing, as those of models that you run yourself"),
            Argument(
                name="--withdraw", is_flag=True, help="end the tenant's price: the global price book counts again"
            ),
            SINCE,
        ),
    ),
    Command(
        name="prices alias", group=Group.PRICES, run="token_ledger.cli.prices:set_alias",
        help="set an alias of a model",
        details="For names of your own: of deployments, of a proxy. Without a model it lists what the"
        " tenant's names stand for. With - in place of the tenant it is for all tenants, which takes the owner of the"
        " tables.",
        example="token-ledger prices alias acme azure/prod-chat openai/gpt-5.4",
        arguments=(
            Argument(name="tenant", help="name of the tenant, or - for all tenants", example="acme"),
            Argument(
                name="name", optional=True, example="azure/prod-chat",
                help="provider and name as callers use it; `*` in the name stands for anything",
            ),
            Argument(
                name="stands_for", optional=True, example="openai/gpt-5.4", help="provider and model that it stands for"
            ),
            Argument(name="--remove", is_flag=True, help="remove the alias"),
        ),
    ),
    Command(
        name="prices discount", group=Group.PRICES, run="token_ledger.cli.discounts:set_discount",
        help="set a negotiated discount off published prices",
        details="For a model, a family (openai/gpt-5*), a provider (openai/*) or all (*/*): of those in force the most"
        " exact name counts, alone. Prices of the tenant's own stay as they are. Events keep both costs. Without a"
        " model it lists the tenant's discounts.",
        example="token-ledger prices discount acme openai/* --off 15 --from 2027-01-01 --until 2028-01-01",
        arguments=(
            TENANT,
            Argument(
                name="model", optional=True, example="openai/*",
                help="provider and model; `*` in the model stands for anything",
            ),
            Argument(name="--off", help="percent off every rate", example="15"),
            Argument(name="--remove", is_flag=True, help="end the discounts of exactly this name"),
            SINCE,
            Argument(name="--until", example="2028-01-01", help="until this date or instant, in UTC"),
        ),
    ),
    Command(
        name="prices recost", group=Group.PRICES, run="token_ledger.cli.recostings:recost",
        help="show what calls cost whose price was set after them, and book it if you accept it",
        details="For calls of which a part had no price when they were booked: what had a price keeps it. With"
        " --also-priced for all calls, after a price was corrected for the past. One line a model. Changes nothing"
        " without --accept; with it, an event with the difference is booked for each of them, where the call is booked,"
        " in batches, between which other calls go on. Running it again changes nothing, and one that was interrupted"
        " is continued.",
        example="token-ledger prices recost acme house/summarizer --accept",
        arguments=(
            TENANT,
            Argument(
                name="model", optional=True, example="house/summarizer",
                help="provider and model; `*` in the model stands for anything; without it, all models",
            ),
            Argument(name="--since", example="2026-11-01", help="calls from this date or instant on, in UTC"),
            Argument(name="--until", example="2026-12-01", help="calls before this date or instant, in UTC"),
            Argument(name="--also-priced", is_flag=True, help="also calls that had a price, as if they were made now"),
            Argument(name="--accept", is_flag=True, help="book what is shown"),
            JSON,
        ),
    ),
    Command(
        name="prices describe", group=Group.PRICES, run="token_ledger.cli.model_facts:describe_model",
        help="describe a model: limits, capabilities, end of life",
        details="For the tenant, in place of what is published, all of it at once. `prices show`"
        " and GET /v1/models show it; it changes no call.",
        example="token-ledger prices describe acme openai/gpt-4o --max-output-tokens 16384 --end-of-life 2027-03-01",
        arguments=(
            TENANT, MODEL,
            Argument(name="--context-tokens", example="128000", help="longest context, in tokens"),
            Argument(name="--max-output-tokens", example="16384", help="longest answer, in tokens"),
            Argument(
                name="--capabilities", example="tools,vision",
                help="what it can do, in the words that `requires` of a call uses",
            ),
            Argument(name="--deprecated", is_flag=True, help="its end of life is announced"),
            Argument(
                name="--end-of-life", example="2027-03-01", help="the day after which its provider no longer serves it"
            ),
            Argument(name="--remove", is_flag=True, help="go back to what is published"),
        ),
    ),
    Command(
        name="prices refresh", group=Group.PRICES, run="token_ledger.cli.price_refresh:refresh_prices",
        help="show what a newer version publishes, and take it over if you accept it",
        details="Changes nothing without --accept, which takes the owner of the tables. New prices count from then on,"
        " in every process; what was booked keeps its price. Prices of tenants' own stay in force.",
        example="token-ledger prices refresh openai --accept",
        arguments=(
            MODELS, OF_PROVIDER, OF_NAME,
            Argument(name="--accept", is_flag=True, help="take over what is shown"),
        ),
    ),
    Command(
        name="prices diff", group=Group.PRICES, run="token_ledger.cli.price_refresh:show_differences",
        help="list how the price book differs from what is published, and what it does not take over",
        details="First what refresh would change, then every model of which a published rate is not in the price book,"
        " with why.",
        example="token-ledger prices diff google",
        arguments=(
            MODELS, OF_PROVIDER, OF_NAME,
        ),
    ),
)  # fmt: skip
