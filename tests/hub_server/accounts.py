"""Who may do what: users, the roles of their tokens, and organisations."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["read", "write"]


@dataclass(frozen=True, kw_only=True)
class Account:
    """One token of one user. A user may have several, each an account of its own."""

    name: str
    role: Role = "write"
    organisations: tuple[str, ...] = ()

    @property
    def token(self) -> str:
        """What a client sends as its token."""
        return f"hf_{self.name}_{self.role}"

    def belongs_to(self, namespace: str) -> bool:
        """Whether private repositories of a namespace are this user's too."""
        return namespace == self.name or namespace in self.organisations

    def may_write(self, namespace: str) -> bool:
        """Whether this token may create and change repositories of a namespace."""
        return self.role == "write" and self.belongs_to(namespace)

    def identity(self) -> dict[str, Any]:
        """What ``whoami`` answers."""
        organisations = [
            {"type": "org", "id": name, "name": name, "fullname": name, "roleInOrg": self.role}
            for name in self.organisations
        ]
        return {
            "type": "user",
            "id": self.name,
            "name": self.name,
            "fullname": self.name,
            "orgs": organisations,
            "auth": {
                "type": "access_token",
                "accessToken": {"displayName": self.role, "role": self.role},
            },
        }


ALICE = Account(name="alice", organisations=("acme",))
ALICE_READS = Account(name="alice", role="read", organisations=("acme",))
BOB = Account(name="bob")
CAROL = Account(name="carol", organisations=("acme",))
DORA = Account(name="dora", organisations=("lab",))
EVERYONE = (ALICE, ALICE_READS, BOB, CAROL, DORA)


def account_of(token: str, accounts: Iterable[Account]) -> Account | None:
    """Return the account that a token belongs to, or None."""
    return next((account for account in accounts if account.token == token), None)
