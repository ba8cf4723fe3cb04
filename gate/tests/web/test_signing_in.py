"""Signing in and out, the first admin, and the cookie."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from gate.tests.factories import PASSWORD, TENANT, World, password_hash, second_tenant
from gate.tests.web.browsing import Visit, visiting, words

from stacksona_gate.domain.agents import key_hash
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.service import people
from stacksona_gate.service.tenants import create_tenant, new_tenant_id, resume_tenant, suspend_tenant
from stacksona_gate.store.base import Tx
from stacksona_gate.web.visitors import local_path


async def with_password(guest: Visit) -> dict[str, str]:
    w = guest.w
    await w.write(
        lambda tx: people.change_user(tx, w.env, COMMAND_LINE, TENANT, w.reviewer.id, password_hash=password_hash())
    )
    return {"email": w.reviewer.email, "password": PASSWORD}


async def test_signing_in_leads_to_where_one_wanted_to_go() -> None:
    async with visiting() as guest:
        form = await with_password(guest)
        asked = await guest.get("/inbox/THR-1?revision=2")
        assert asked.headers["location"] == "/sign-in?next=/inbox/THR-1%3Frevision%3D2"
        page = await guest.get(asked.headers["location"])
        assert 'value="/inbox/THR-1?revision=2"' in page.text
        signed = await guest.post("/sign-in", form | {"next": "/inbox/THR-1?revision=2"})
        assert (signed.status_code, signed.headers["location"]) == (303, "/inbox/THR-1?revision=2")


async def test_on_loopback_the_cookie_is_plain_http_only_and_lax() -> None:
    async with visiting() as guest:
        cookie = (await guest.post("/sign-in", await with_password(guest))).headers["set-cookie"]
        assert cookie.startswith("stacksona_session=")
        assert cookie.endswith("; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax")


async def test_on_https_the_cookie_is_bound_to_the_host_and_secure() -> None:
    async with visiting("https://gate.example") as guest:
        cookie = (await guest.post("/sign-in", await with_password(guest))).headers["set-cookie"]
        assert cookie.startswith("__Host-stacksona_session=")
        assert cookie.endswith("; HttpOnly; SameSite=Lax; Secure")


@pytest.mark.parametrize(
    ("public_url", "served_on"),
    [("http://gate.example", "http://gate.example"), ("http://127.0.0.1:8420", "http://10.0.0.5:8420")],
)
@pytest.mark.parametrize("path", ["/sign-in", "/setup"])
async def test_on_other_plain_http_signing_in_is_refused_and_says_why(
    public_url: str, served_on: str, path: str
) -> None:
    async with visiting(public_url, served_on) as guest:
        for answer in (await guest.get(path), await guest.post(path, {"email": "a@b.c", "password": "x"})):
            assert answer.status_code == 403
            assert "plain http is refused" in words(answer)
            assert "set-cookie" not in answer.headers


async def test_a_wrong_password_does_not_say_which_of_the_two_was_wrong() -> None:
    async with visiting() as guest:
        form = await with_password(guest)
        wrong = await guest.post("/sign-in", form | {"password": "wrong"})
        unknown = await guest.post("/sign-in", {"email": "nobody@example.com", "password": "wrong"})
        assert wrong.status_code == unknown.status_code == 401
        assert words(wrong) == words(unknown)


async def test_too_many_tries_show_a_page_that_says_how_long() -> None:
    async with visiting() as guest:
        form = await with_password(guest)
        for _ in range(people.FAILURES_PER_ACCOUNT):
            await guest.post("/sign-in", form | {"password": "wrong"})
        answer = await guest.post("/sign-in", form)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "900")
        assert "wait 15 minutes" in words(answer)


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}]
)
async def test_another_sites_page_signs_nobody_in(headers: dict[str, str]) -> None:
    async with visiting() as guest:
        answer = await guest.post("/sign-in", await with_password(guest), **headers)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


async def test_another_sites_page_makes_no_first_admin() -> None:
    async with visiting() as guest:
        form = {"code": await first_start(guest), "email": "boss@example.com", "password": PASSWORD}
        assert (await guest.post("/setup", form, Origin="https://evil.example")).status_code == 403
        assert (await guest.post("/setup", form)).status_code == 303


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil",
        "javascript:alert(1)",
        "inbox",
        "",
        "/" + "a" * 2000,
        "/inbox\u202e",
    ],
)
def test_the_way_back_stays_on_this_site(wanted: str) -> None:
    assert local_path(wanted) == "/inbox"


async def test_signing_in_never_leads_to_another_site() -> None:
    async with visiting() as guest:
        answer = await guest.post("/sign-in", await with_password(guest) | {"next": "//evil.example"})
        assert urlsplit(answer.headers["location"]).netloc == ""
        assert answer.headers["location"] == "/inbox"


async def test_signing_out_ends_the_session_and_the_cookie() -> None:
    async with visiting() as guest:
        rita = await guest.as_(guest.w.reviewer)
        answer = await rita.post("/sign-out")
        assert "Max-Age=0" in answer.headers["set-cookie"]
        assert (await rita.get("/inbox")).headers["location"].startswith("/sign-in")


async def test_the_setup_code_makes_one_admin_once() -> None:
    async with visiting() as guest:
        code = await first_start(guest)
        form = {"code": code, "email": "boss@example.com", "password": PASSWORD}
        first, second = await guest.post("/setup", form), await guest.post("/setup", form | {"email": "b@example.com"})
        assert (first.status_code, first.headers["location"]) == (303, "/inbox")
        assert first.headers["set-cookie"].startswith("stacksona_session=")
        assert second.status_code == 403
        assert "this code is used or over" in words(second)


async def test_a_short_password_leaves_the_setup_code_usable() -> None:
    async with visiting() as guest:
        form = {"code": await first_start(guest), "email": "boss@example.com", "password": "short"}
        refused = await guest.post("/setup", form)
        assert refused.status_code == 422
        assert form["code"] in refused.text
        assert (await guest.post("/setup", form | {"password": PASSWORD})).status_code == 303


async def first_start(guest: Visit) -> str:
    """A setup code, as on an installation without admins."""
    w = guest.w
    code = w.env.secret("")

    def unit(tx: Tx) -> None:
        tx.people.update_user(replace(w.admin, state="disabled"))
        tx.people.insert_setup_code(TENANT, key_hash(code), w.clock.now + 1)

    await w.write(unit)
    return code


@pytest.mark.parametrize("body", ["not a form", "email=a&email=b", "email[x]=a&password=b", "email=%ff&password=b"])
async def test_a_body_that_no_page_of_ours_sends_is_refused(body: str) -> None:
    async with visiting() as guest:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        assert (await guest.client.post("/sign-in", content=body, headers=headers)).status_code == 422


async def test_a_form_that_is_too_long_is_refused_while_it_comes() -> None:
    async with visiting() as guest:
        assert (await guest.post("/sign-in", {"email": "a" * 30_000})).status_code == 413


# Several workspaces


async def two_of_the_same_address(guest: Visit) -> World:
    """Rita has an account in each of two workspaces, with the same mail address and another password."""
    await with_password(guest)
    other = await second_tenant(guest.w, "acme")
    hashed = password_hash("another long password")
    await other.write(
        lambda tx: people.create_user(
            tx, other.env, COMMAND_LINE, "acme", guest.w.reviewer.email, "reviewer", hashed, name="Rita at Acme"
        )
    )
    return other


async def test_one_workspace_asks_nobody_for_its_name() -> None:
    async with visiting() as guest:
        assert 'name="workspace"' not in (await guest.get("/sign-in")).text


@pytest.mark.parametrize(
    ("workspace", "password", "shown"),
    [("acme", "another long password", "Rita at Acme"), ("", PASSWORD, "Rita"), ("default", PASSWORD, "Rita")],
)
async def test_the_same_mail_address_signs_in_to_the_workspace_that_is_named(
    workspace: str, password: str, shown: str
) -> None:
    async with visiting() as guest:
        await two_of_the_same_address(guest)
        form = {"workspace": workspace, "email": guest.w.reviewer.email, "password": password}
        signed = await guest.post("/sign-in", form)
        cookie = signed.headers["set-cookie"].partition(";")[0]
        page = await guest.client.get("/inbox", headers={"cookie": cookie})
        assert f"{shown} reviewer" in words(page)
        assert ('class="workspace"' in page.text) == (workspace == "acme")


@pytest.mark.parametrize("workspace", ["acme", "nowhere", "default", "<b>"])
async def test_a_refused_sign_in_does_not_say_whether_there_is_such_a_workspace(workspace: str) -> None:
    async with visiting() as guest:
        await two_of_the_same_address(guest)
        form = {"workspace": workspace, "email": guest.w.reviewer.email, "password": "wrong"}
        refused = await guest.post("/sign-in", form)
        assert refused.status_code == 401
        assert "workspace, mail address or password is wrong" in words(refused)
        assert 'class="workspace"' not in refused.text  # the page's head names the workspace of who is signed in
        assert "<b>" not in refused.text.partition('class="card"')[2].partition("Mail address")[0]


async def test_the_form_holds_the_workspace_of_a_link_or_of_the_last_time() -> None:
    async with visiting() as guest:
        await two_of_the_same_address(guest)
        form = {"workspace": "acme", "email": guest.w.reviewer.email, "password": "another long password"}
        cookies = (await guest.post("/sign-in", form)).headers.get_list("set-cookie")
        remembered = next(one for one in cookies if one.startswith("stacksona_workspace="))
        assert "HttpOnly" in remembered
        guest.client.cookies.clear()
        pages = [
            await guest.get("/sign-in?workspace=acme"),
            await guest.client.get("/sign-in", headers={"cookie": remembered.partition(";")[0]}),
        ]
        assert all('name="workspace"' in page.text and 'value="acme"' in page.text for page in pages)


async def test_guesses_at_one_account_do_not_lock_the_same_address_elsewhere() -> None:
    async with visiting() as guest:
        await two_of_the_same_address(guest)
        form = {"workspace": "acme", "email": guest.w.reviewer.email, "password": "wrong"}
        assert [(await guest.post("/sign-in", form)).status_code for _ in range(6)] == [401] * 5 + [429]
        other = form | {"workspace": "default", "password": PASSWORD}
        assert (await guest.post("/sign-in", other)).status_code == 303


async def test_an_address_has_no_more_guesses_for_there_being_more_workspaces() -> None:
    async with visiting() as guest:
        await two_of_the_same_address(guest)
        forms = [
            {"workspace": name, "email": f"{number}@example.com", "password": "wrong"}
            for number in range(16)
            for name in ("acme", "default")
        ]
        found = [(await guest.post("/sign-in", form)).status_code for form in forms]
        assert found == [401] * people.FAILURES_PER_ADDRESS + [429] * 2


async def test_a_suspended_workspace_says_so_to_whoever_knows_the_password() -> None:
    async with visiting() as guest:
        await two_of_the_same_address(guest)
        await guest.w.write(lambda tx: suspend_tenant(tx, guest.w.env, COMMAND_LINE, "acme"))
        form = {"workspace": "acme", "email": guest.w.reviewer.email, "password": "another long password"}
        refused = await guest.post("/sign-in", form)
        assert (refused.status_code, "set-cookie" in refused.headers) == (403, False)
        assert "suspended" in words(refused)


async def test_who_was_signed_in_to_a_workspace_signs_in_anew_after_it_was_suspended() -> None:
    async with visiting() as guest:
        await two_of_the_same_address(guest)
        form = {"workspace": "acme", "email": guest.w.reviewer.email, "password": "another long password"}
        cookie = (await guest.post("/sign-in", form)).headers["set-cookie"].partition(";")[0]
        assert (await guest.get("/inbox", cookie=cookie)).status_code == 200
        for change in (suspend_tenant, resume_tenant):
            await guest.w.write(lambda tx, c=change: c(tx, guest.w.env, COMMAND_LINE, "acme"))  # type: ignore[misc]
        assert (await guest.get("/inbox", cookie=cookie)).status_code == 303


async def test_no_session_opens_a_suspended_workspace() -> None:
    async with visiting() as guest:
        await two_of_the_same_address(guest)
        tenant = await guest.w.write(lambda tx: suspend_tenant(tx, guest.w.env, COMMAND_LINE, "acme"))
        user = await guest.w.read(lambda tx: tx.people.find_user_by_email(tenant.id, guest.w.reviewer.email))
        assert user is not None
        assert (await (await guest.as_(user)).get("/inbox")).status_code == 303


async def test_the_link_of_a_new_workspace_makes_its_first_admin_and_signs_them_in() -> None:
    async with visiting() as guest:
        w, tenant_id = guest.w, new_tenant_id(guest.w.env)
        made = await w.write(lambda tx: create_tenant(tx, w.env, COMMAND_LINE, tenant_id, "acme"))
        form = {"code": made.code, "email": "ada@acme.example", "password": PASSWORD}
        signed = await guest.post("/setup", form)
        assert (signed.status_code, signed.headers["location"]) == (303, "/inbox")
        user = await w.read(lambda tx: tx.people.find_user_by_email(tenant_id, "ada@acme.example"))
        assert user is not None
        assert user.role == "admin"
