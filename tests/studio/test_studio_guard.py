"""Who may ask the studio what: hosts, origins, sizes, names, limits, and users at once."""

import http.client
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from pages import limited, studio

import debye

JSON = {"Content-Type": "application/json"}


def asked(address, path, body=None, headers=(), method=None):
    """Status and answer of a request, parsed where it is JSON."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.netloc, timeout=100)
    content = json.dumps(body).encode() if isinstance(body, dict) else body
    method = method or ("GET" if body is None else "POST")
    connection.request(
        method, path, content, {**(JSON if body is not None else {}), **dict(headers)}
    )
    answer = connection.getresponse()
    found = answer.read()
    connection.close()
    is_json = "json" in answer.headers.get("content-type", "")
    return answer.status, json.loads(found) if is_json else found


def text(name):
    return {"name": name, "text": (debye.DEMO / name).read_text()}


def test_it_answers_to_its_own_host_and_origin_alone(address):
    port = urlsplit(address).port
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port}.evil"):
        status, told = asked(address, "/", headers={"Host": host})
        assert status == 403
        assert "host" in told["error"]["what"]
    assert asked(address, "/api/about", headers={"Host": f"localhost:{port}"})[0] == 200
    for origin in ("http://evil.example", "null", f"https://127.0.0.1:{port}"):
        assert asked(address, "/api/about", headers={"Origin": origin})[0] == 403
    assert asked(address, "/api/about", headers={"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert asked(address, "/api/about", headers={"Origin": address})[0] == 200


def test_a_form_of_another_page_cannot_ask(address):
    plain = {"Content-Type": "text/plain"}
    status, told = asked(address, "/api/predict", b'{"item":{}}', plain)
    assert (status, told["error"]["what"]) == (415, "the request is not JSON")


@pytest.mark.parametrize("chunked", [False, True])
def test_too_much_is_refused_in_words(address, chunked):
    most = asked(address, "/api/about")[1]["most_bytes"]
    body = (
        (b"x" * 1_000_000 for _ in range(most // 1_000_000 + 2)) if chunked else b"x" * (most + 1)
    )
    status, told = asked(address, "/api/predict", body, method="POST")
    assert status == 413
    assert "MB" in told["error"]["why"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 422, "missing"),
        (b"[1]", 422, "object"),
        (b"{", 422, "JSON"),
        (b"\xff\xfe", 422, "JSON"),
        (b"[" * 200_000, 422, "JSON"),
        ({"item": {"example": "../../etc/passwd"}}, 404, "no example"),
        ({"item": {"example": "<script>"}}, 404, "no example"),
        ({"item": {"file": 0}}, 404, "no file"),
        ({"item": {"path": "/etc/passwd"}}, 422, "missing"),
        ({"item": {"name": "..", "text": ""}}, 422, "names no file"),
        ({"item": {"name": "a.cif", "text": ""}}, 422, "empty"),
        ({"item": {"name": "a.pkl", "text": "x"}}, 422, "execute code"),
        ({"item": {"name": "a.cif", "text": "\x00\x01"}}, 422, "a.cif"),
        ({"item": {"name": "a.cif", "text": "\ud800"}}, 422, "a.cif"),
        ({"item": {"example": "rutile.cif", "index": 7}}, 422, "no structure 7"),
        ({"item": {"example": "rutile.cif", "index": -1}}, 422, "index"),
        ({"item": {"example": "rutile.cif", "index": True}}, 422, "index"),
        ({"item": {"alloy": [], "fraction": 0.5}}, 422, "two structures"),
        ({"item": {"alloy": [{"example": "x"}] * 2, "fraction": 2}}, 422, "two structures"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_told_as_json(address, body, status, said):
    found, told = asked(address, "/api/bands", body)
    assert found == status
    assert said in " ".join(told["error"].values())


def test_what_is_not_there_is_404_as_json(address):
    rutile = {"item": {"example": "rutile.cif"}}
    paths = {"/x": None, "/static/x.js": None, "/api/screenings/0": None, "/api/export/x": rutile}
    for path, body in paths.items():
        status, told = asked(address, path, body)
        assert status == 404
        assert set(told["error"]) == {"what", "why", "fix"}
    item = {"example": "silicon.vasp"}
    assert asked(address, "/api/modes", {"item": item, "point": 10_000})[0] == 422
    assert asked(address, "/api/bands", {"item": item, "path": "G Q"})[0] == 422
    assert asked(address, "/api/export/dos.csv", {"item": item, "unit": "furlong"})[0] == 422


def test_pickles_are_refused_in_words(address):
    held = pickle.dumps(debye.read_crystal(debye.DEMO / "rutile.cif"))
    body = {"item": {"name": "rutile.cif", "text": held.decode("latin-1")}}
    status, told = asked(address, "/api/predict", body)
    assert status == 422
    assert "rutile.cif" in told["error"]["what"]


def test_two_users_at_once_never_mix(address):
    """Each gets what belongs to its own structure, under one name of file."""
    names = ["rutile.cif", "quartz.cif", "mg3sb2.cif", "rock_salt.cif"] * 3

    def formula(name):
        item = {"name": "same.cif", "text": text(name)["text"]}
        status, told = asked(address, "/api/predict", {"item": item})
        return status, told["structures"][0]["formula"]

    with ThreadPoolExecutor(6) as users:
        found = list(users.map(formula, names))
    assert found == [(200, debye.read_crystal(debye.DEMO / name).formula) for name in names]


def test_files_are_those_of_the_library(address):
    """What is exported, read back, is what debye predicts."""
    item = {"item": text("rutile.cif"), "unit": "THz"}
    _, content = asked(address, "/api/export/dos.csv", item)
    p = debye.predict(debye.DEMO / "rutile.cif")
    rows = [line.split(b",") for line in content.splitlines()]
    assert float(rows[-1][0]) == pytest.approx(1000 * 0.0299792458)
    sums = [sum(float(x) for x in row[2:]) for row in rows[1:]]
    assert sums == pytest.approx((p.total.in_unit("THz")[1]).tolist(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("limit", [{"seconds": 3}, {"megabytes": 70}], ids=str)
def test_a_computation_is_stopped_at_its_limit_and_the_next_goes_on(limit, tmp_path):
    """432 sites take seconds and 100 MB."""
    large = debye.read_crystal(debye.DEMO / "quartz.cif") * (4, 4, 3)
    held = large.write(tmp_path / "large.cif").read_text()
    with limited(**limit) as address:
        status, told = asked(address, "/api/predict", {"item": {"name": "l.cif", "text": held}})
        assert status == 503, told
        assert ("3 s" if "seconds" in limit else "memory") in told["error"]["why"]
        assert asked(address, "/api/predict", {"item": {"example": "silicon.vasp"}})[0] == 200


def test_elsewhere_than_on_this_machine_it_needs_a_token():
    with studio("--host", "0.0.0.0") as printed:
        parts = urlsplit(printed)
        address, token = f"http://127.0.0.1:{parts.port}", parts.query.removeprefix("token=")
        assert len(token) > 20
        assert asked(address, "/")[0] == 401
        assert asked(address, "/?token=x")[0] == 401
        assert asked(address, "/api/about", headers={"Authorization": "Bearer x"})[0] == 401
        assert asked(address, f"/?token={token}")[0] == 303
        assert asked(address, "/", headers={"Cookie": f"debye-token={token}"})[0] == 200
        assert asked(address, "/api/about", headers={"Authorization": f"Bearer {token}"})[0] == 200
