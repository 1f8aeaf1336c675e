"""Commands of users."""

from token_ledger.core.batch import administration
from token_ledger.core.batch.idempotency import fingerprint
from token_ledger.core.model.tenant import User, check_cost_centers
from token_ledger.wire.bodies.tenants import KeyBody
from token_ledger.wire.bodies.users import UserBody, UsersBody
from token_ledger.wire.commands.fields import fingerprint_of
from token_ledger.wire.problems import invalid_field


def set_users_command(body: UsersBody, actor: str) -> administration.SetUsers:
    """Return the command that adds users or replaces what is stored of them."""
    names = [user.user for user in body.users]
    if len(set(names)) != len(names):
        raise invalid_field("users", "name each user once")
    users = tuple(_user(user, position) for position, user in enumerate(body.users))
    return administration.SetUsers(body.idempotency_key, fingerprint_of(body), users, actor)


def _user(body: UserBody, position: int) -> User:
    dated = tuple((each.since, each.cost_center) for each in body.cost_centers)
    try:
        check_cost_centers(dated)
    except ValueError as error:
        raise invalid_field(f"users.{position}.cost_centers", str(error)) from None
    return User(body.user, dated)


def erase_user_command(body: KeyBody, user: str, known: bool, actor: str) -> administration.EraseUser:
    """Return the command that erases a user; `known` says whether any row has the name."""
    return administration.EraseUser(body.idempotency_key, fingerprint(user.encode()), user, actor, known)
