"""Accounts, roles and the door of the pages."""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request

import pytest

from dashboards.access import RIGHTS, Right, Role, Who, right_of
from dashboards.accounts import (
    Accounts,
    read_accounts,
    with_password,
    with_token,
    write_accounts,
)
from dashboards.guard import Door
from dashboards.sessions import GUESSES, HOLDS_S, WAIT_S, Sessions
from ingest.broker import find_mosquitto
from meterprint.live import LiveSite
from meterprint.pages import PageServer
from meterprint.plant_file import load_plant
from meterprint.site import open_site
from mrv.errors import InputError
from tests.conftest import REPO, missing

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """(URL, token of each role) of a site with an account for each role."""
    if find_mosquitto() is None:
        missing("mosquitto")
    folder = tmp_path_factory.mktemp("guarded")
    accounts, tokens = {}, {}
    for role in Role:
        accounts[role.value] = with_password(role.value, role, PASSWORD)
        accounts[f"{role}-program"], tokens[role] = with_token(f"{role}-program", role)
    write_accounts(folder / "users", accounts)
    site = open_site(folder / "state", "steel-plant.example")
    site.state_plant(load_plant(REPO / "examples" / "steel_plant" / "plant.yaml"), 0)
    live = LiveSite(site)
    body = {"id": "1", "line": "plant", "batch": "b 1", "product": "day", "event": "start"}
    live.batch_event({**body, "t": "2026-11-24T00:00:00Z"}, "t")
    live.batch_event(
        {"id": "2", "line": "plant", "batch": "b 1", "event": "end", "good": "5", "scrap": "0"}
        | {"t": "2026-11-25T00:00:00Z"},
        "t",
    )
    while "b 1" not in site.engine.results:
        site.engine.changes.wait(site.engine.changes.version, 1)
    server = PageServer(live, 0, door=Door(Accounts(folder / "users")))
    yield server.url, tokens, folder
    server.stop()
    live.close()
    site.close()


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def ask(url, token="", data=None, **headers):
    """(status, headers, text) of one request without following anything."""
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(
        url, data, {k.replace("_", "-"): v for k, v in headers.items()}
    )
    try:
        with urllib.request.build_opener(NoRedirect).open(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode(errors="replace")


def log_in(url, name, password=PASSWORD, goal="/"):
    data = urllib.parse.urlencode({"name": name, "password": password, "next": goal}).encode()
    return ask(f"{url}login", data=data)


def paths_of(url, token):
    """Every GET path of the described interface, its parameters filled in, and the pages."""
    described = json.loads(ask(f"{url}openapi.json", token)[2])
    paths = [
        path.replace("{name}", "b%201").replace("{index}", "0")
        for path, operations in described["paths"].items()
        if "get" in operations
    ]
    pages = ["/", "/batches", "/batches/b%201", "/meters", "/help", "/metrics", "/api/docs"]
    return paths + pages + ["/fragments/health", "/fragments/troubles", "/openapi.json"]


def test_nobody_comes_in_without_saying_who_he_is(guarded):
    url, tokens, _ = guarded
    base = url.rstrip("/")
    for path in paths_of(url, tokens[Role.VERIFIER]):
        status, headers, text = ask(base + path)
        assert status == 401, path
        assert headers["WWW-Authenticate"] == "Bearer"
        assert set(json.loads(text)) == {"error", "field", "hint", "seen"}
        status, headers, _ = ask(base + path, Accept="text/html")
        assert status == 303, path
        assert headers["Location"].startswith("/login?next=")
    for path in ("/healthz", "/readyz", "/login", "/static/icon.svg"):
        assert ask(base + path)[0] == 200, path


def test_each_role_reads_what_it_may_and_no_more(guarded):
    url, tokens, _ = guarded
    base = url.rstrip("/")
    for role, token in tokens.items():
        for path in paths_of(url, tokens[Role.VERIFIER]):
            needed = right_of("GET", urllib.parse.unquote(path))
            allowed = needed is Right.OPEN or needed in RIGHTS[role]
            assert ask(base + path, token)[0] == (200 if allowed else 403), (role, path)


def test_only_an_operator_states_batches(guarded):
    url, tokens, _ = guarded
    for role, token in tokens.items():
        body = {"id": f"e-{role}", "line": "plant", "batch": f"of-{role}", "product": "day"}
        body |= {"event": "start", "t": "2026-11-25T01:00:00Z"}
        status, _, text = ask(
            f"{url}api/v1/batch-events",
            token,
            json.dumps(body).encode(),
            Content_Type="application/json",
        )
        assert status == (201 if role is Role.OPERATOR else 403), (role, text)


def test_the_public_sees_the_figure_but_not_the_meters_behind_it(guarded):
    url, tokens, _ = guarded
    status, _, page = ask(f"{url}batches/b%201", tokens[Role.PUBLIC], Accept="text/html")
    assert status == 200
    assert 'data-testid="figure"' in page
    for word in ("/api/v1/", "/meters", 'id="evidence"', '<form method="post" action="/batches"'):
        assert word not in page, word
    assert 'id="evidence"' in ask(f"{url}batches/b%201", tokens[Role.VERIFIER])[2]
    home = ask(url, tokens[Role.PUBLIC])[2]
    assert 'action="/batches"' not in home
    assert 'action="/batches"' in ask(url, tokens[Role.OPERATOR])[2]


def test_a_person_logs_in_by_the_form_and_out_again(guarded):
    url, _, _ = guarded
    status, headers, _ = log_in(url, "operator", goal="/meters")
    assert (status, headers["Location"]) == (303, "/meters")
    cookie = headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=strict"} <= {part.strip() for part in cookie.split(";")}
    session = cookie.split(";")[0]
    assert ask(f"{url}meters", Cookie=session)[0] == 200
    page = ask(url, Cookie=session)[2]
    assert "operator" in page
    assert ask(f"{url}logout", data=b"", Cookie=session)[0] == 303
    assert ask(f"{url}meters", Cookie=session)[0] == 401


def test_a_wrong_password_is_refused_in_words_and_guessing_has_an_end(guarded):
    url, _, _ = guarded
    status, _, page = log_in(url, "guessed", "wrong")
    assert status == 401
    assert 'role="alert"' in page
    assert [log_in(url, "guessed", "wrong")[0] for _ in range(GUESSES)][-1] == 429
    assert log_in(url, "verifier")[0] == 303


@pytest.mark.parametrize(
    "goal", ["//evil.example/", "https://evil.example/", "/\\evil.example", ""]
)
def test_logging_in_never_leads_to_another_site(guarded, goal):
    url, _, _ = guarded
    assert log_in(url, "verifier", goal=goal)[1]["Location"] == "/"


def test_a_form_of_another_site_is_refused_even_with_a_session(guarded):
    url, _, _ = guarded
    session = log_in(url, "operator")[1]["Set-Cookie"].split(";")[0]
    data = b"line=plant&event=start&batch=x&product=day"
    status, _, _ = ask(f"{url}batches", data=data, Cookie=session, Sec_Fetch_Site="cross-site")
    assert status == 403


def test_an_account_that_is_removed_ends_its_sessions_at_once(guarded):
    url, _, folder = guarded
    known = read_accounts(folder / "users")
    write_accounts(
        folder / "users", {**known, "guest": with_password("guest", Role.VERIFIER, PASSWORD)}
    )
    session = log_in(url, "guest")[1]["Set-Cookie"].split(";")[0]
    assert ask(f"{url}meters", Cookie=session)[0] == 200
    write_accounts(folder / "users", known)
    assert ask(f"{url}meters", Cookie=session)[0] == 401


def test_who_stated_a_batch_is_in_the_journal(guarded):
    url, tokens, _ = guarded
    size = json.loads(ask(f"{url}api/v1/journal", tokens[Role.VERIFIER])[2])["entries"]
    notes = [
        json.loads(ask(f"{url}api/v1/journal/{i}", tokens[Role.VERIFIER])[2])["note"]
        for i in range(size)
    ]
    assert any('"http:operator-program"' in note for note in notes)


def test_without_accounts_another_host_name_is_turned_away(plant):
    """A page elsewhere whose name is pointed at this machine would otherwise read everything."""
    _, url = plant
    place = urllib.parse.urlsplit(url)
    link = http.client.HTTPConnection(place.hostname, place.port, timeout=10)
    link.request("GET", "/api/v1/batches", headers={"Host": "evil.example"})
    answer = link.getresponse()
    assert answer.status == 421
    assert "web.names" in json.loads(answer.read())["hint"]
    link.close()


def test_passwords_and_tokens_are_kept_as_hashes_only(tmp_path):
    one = with_password("ann", Role.OPERATOR, PASSWORD)
    program, token = with_token("probe", Role.VERIFIER)
    write_accounts(tmp_path / "users", {"ann": one, "probe": program})
    text = (tmp_path / "users").read_text()
    assert PASSWORD not in text
    assert token not in text
    assert (tmp_path / "users").stat().st_mode & 0o077 == 0
    accounts = Accounts(tmp_path / "users")
    assert accounts.by_password("ann", PASSWORD) == Who("ann", Role.OPERATOR)
    assert accounts.by_password("ann", PASSWORD + "x") is None
    assert accounts.by_password("probe", token) is None
    assert accounts.by_token(token) == Who("probe", Role.VERIFIER)
    assert accounts.by_token(one.secret) is None
    assert with_password("ann", Role.OPERATOR, PASSWORD).secret != one.secret, "salted"


def test_scrypt_agrees_with_the_vector_of_its_standard():
    """RFC 7914 §12, the third vector."""
    from dashboards.accounts import _scrypt

    expected = (
        "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
        "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"
    )
    import hashlib

    whole = hashlib.scrypt(b"pleaseletmein", salt=b"SodiumChloride", n=16384, r=8, p=1, dklen=64)
    assert whole.hex() == expected
    assert _scrypt("pleaseletmein", b"SodiumChloride", 14, 8, 1) == whole[:32]


@pytest.mark.parametrize(
    "line",
    ["ann", "ann:king:scrypt$x", "ann:operator:md5$x", "a b:operator:scrypt$x", "ann:operator:"],
)
def test_a_broken_line_of_the_file_is_named(tmp_path, line):
    (tmp_path / "users").write_text(f"# accounts\n\n{line}\n")
    with pytest.raises(InputError) as refused:
        read_accounts(tmp_path / "users")
    assert (refused.value.line, "user set" in refused.value.hint) == (3, True)


def test_a_file_that_breaks_later_lets_in_whom_it_let_in_before(tmp_path):
    program, token = with_token("probe", Role.VERIFIER)
    write_accounts(tmp_path / "users", {"probe": program})
    accounts = Accounts(tmp_path / "users")
    (tmp_path / "users").write_text("nonsense\n")
    assert accounts.by_token(token) == Who("probe", Role.VERIFIER)


def test_sessions_and_waits_end():
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    token = sessions.begin("ann")
    assert sessions.name_of(token) == "ann"
    for _ in range(GUESSES):
        sessions.failed("ann here")
    assert sessions.must_wait("ann here")
    assert not sessions.must_wait("ann there")
    now[0] = WAIT_S + 1
    assert not sessions.must_wait("ann here")
    now[0] = HOLDS_S + 1
    assert sessions.name_of(token) is None


def test_what_nobody_thought_of_needs_the_most():
    for path in (
        "/api/v1/anything",
        "/batches/x/y",
        "/new",
        "/api/v1/batches/x",
        "//",
        "/fragments/x",
    ):
        assert right_of("GET", path) is Right.EVERYTHING, path
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert right_of(method, "/batches") is Right.STATE
    assert not re.search("static", right_of("GET", "/api/static/"))


@pytest.mark.browser
def test_a_person_logs_in_in_a_browser_and_is_led_to_where_he_wanted(guarded, browser):
    url, _, _ = guarded
    with browser(viewport={"width": 375, "height": 700}) as context:
        page = context.new_page()
        faults = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"{url}meters?lang=zh")
        page.get_by_label("账号").fill("metrologist")
        page.get_by_label("密码").fill("a wrong password")
        page.keyboard.press("Enter")
        page.get_by_role("alert").get_by_text("账号或密码不对").wait_for()
        page.get_by_label("密码").fill(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url("**/meters?lang=zh")
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
        page.goto(url)
        assert page.locator("form.event").count() == 0
        page.get_by_role("button", name="退出").click()
        page.wait_for_url("**/login")
        assert faults == []
