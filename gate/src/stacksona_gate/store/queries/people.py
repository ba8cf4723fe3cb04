"""Users, sessions, personal tokens, sign-in failures."""

from __future__ import annotations

from typing import Final

from stacksona_gate.domain.people import PersonalToken, Session, User
from stacksona_gate.store.rows import Mapper, Rows

USERS: Final = Mapper(User, "users")
SESSIONS: Final = Mapper(Session, "sessions")
TOKENS: Final = Mapper(PersonalToken, "personal_tokens")


class PeopleQueries:
    """Implements store.base.People."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def insert_user(self, user: User) -> None:
        self._rows.run(USERS.insert, *USERS.values(user))

    def update_user(self, user: User) -> None:
        self._rows.run(
            "UPDATE users SET email = $1, name = $2, role = $3, password_hash = $4, state = $5"
            " WHERE tenant_id = $6 AND id = $7",
            user.email,
            user.name,
            user.role,
            user.password_hash,
            user.state,
            user.tenant_id,
            user.id,
        )

    def find_user(self, tenant_id: str, user_id: str) -> User | None:
        return USERS.optional(self._rows.one(f"{USERS.select} WHERE tenant_id = $1 AND id = $2", tenant_id, user_id))

    def find_user_by_email(self, tenant_id: str, email: str) -> User | None:
        return USERS.optional(self._rows.one(f"{USERS.select} WHERE tenant_id = $1 AND email = $2", tenant_id, email))

    def list_users(self, tenant_id: str) -> list[User]:
        return USERS.list(self._rows.all(f"{USERS.select} WHERE tenant_id = $1 ORDER BY email", tenant_id))

    def count_admins(self, tenant_id: str) -> int:
        row = self._rows.one(
            "SELECT COUNT(*) FROM users WHERE tenant_id = $1 AND role = 'admin' AND state = 'active'", tenant_id
        )
        return int(row[0]) if row else 0

    def insert_session(self, session: Session) -> None:
        self._rows.run(SESSIONS.insert, *SESSIONS.values(session))

    def find_session(self, id_hash: str) -> Session | None:
        return SESSIONS.optional(self._rows.one(f"{SESSIONS.select} WHERE id_hash = $1", id_hash))

    def delete_session(self, id_hash: str) -> None:
        self._rows.run("DELETE FROM sessions WHERE id_hash = $1", id_hash)

    def delete_sessions_of(self, tenant_id: str, user_id: str) -> None:
        self._rows.run("DELETE FROM sessions WHERE tenant_id = $1 AND user_id = $2", tenant_id, user_id)

    def delete_sessions_before(self, now: int) -> None:
        self._rows.run("DELETE FROM sessions WHERE expires_at <= $1", now)

    def insert_token(self, token: PersonalToken) -> None:
        self._rows.run(TOKENS.insert, *TOKENS.values(token))

    def find_token_by_hash(self, token_hash: str) -> PersonalToken | None:
        return TOKENS.optional(self._rows.one(f"{TOKENS.select} WHERE hash = $1", token_hash))

    def list_tokens(self, tenant_id: str, user_id: str) -> list[PersonalToken]:
        sql = f"{TOKENS.select} WHERE tenant_id = $1 AND user_id = $2 ORDER BY created_at"
        return TOKENS.list(self._rows.all(sql, tenant_id, user_id))

    def revoke_token(self, tenant_id: str, token_id: str, now: int) -> bool:
        sql = "UPDATE personal_tokens SET revoked_at = $1 WHERE tenant_id = $2 AND id = $3 AND revoked_at IS NULL"
        return self._rows.run(sql, now, tenant_id, token_id) == 1

    def insert_setup_code(self, tenant_id: str, code_hash: str, expires_at: int) -> None:
        self._rows.run("DELETE FROM setup_codes WHERE tenant_id = $1", tenant_id)
        self._rows.run(
            "INSERT INTO setup_codes (tenant_id, hash, expires_at) VALUES ($1, $2, $3)",
            tenant_id,
            code_hash,
            expires_at,
        )

    def find_setup_code(self, code_hash: str, now: int) -> str | None:
        row = self._rows.one("SELECT tenant_id FROM setup_codes WHERE hash = $1 AND expires_at > $2", code_hash, now)
        return row[0] if row else None

    def use_setup_code(self, tenant_id: str, code_hash: str, now: int) -> bool:
        sql = "DELETE FROM setup_codes WHERE tenant_id = $1 AND hash = $2 AND expires_at > $3"
        return self._rows.run(sql, tenant_id, code_hash, now) == 1

    def count_failures(self, tenant_id: str, subject: str, since: int) -> int:
        row = self._rows.one(
            "SELECT COUNT(*) FROM sign_in_failures WHERE tenant_id = $1 AND subject = $2 AND at > $3",
            tenant_id,
            subject,
            since,
        )
        return int(row[0]) if row else 0

    def insert_failure(self, tenant_id: str, subject: str, now: int) -> None:
        self._rows.run(
            "INSERT INTO sign_in_failures (tenant_id, subject, at) VALUES ($1, $2, $3)", tenant_id, subject, now
        )

    def delete_failures(self, tenant_id: str, subject: str, *, at: int | None = None) -> None:
        sql = "DELETE FROM sign_in_failures WHERE tenant_id = $1 AND subject = $2"
        if at is None:
            self._rows.run(sql, tenant_id, subject)
        else:
            self._rows.run(sql + " AND at = $3", tenant_id, subject, at)

    def delete_failures_before(self, moment: int) -> None:
        self._rows.run("DELETE FROM sign_in_failures WHERE at < $1", moment)
