"""The page of an archive: over HTTP, and in a real browser."""

import concurrent.futures
import gzip
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request

import pytest

from support.browser import Browser, installed
from support.certificates import Authority
from support.history import two_weeks
from support.process import PATIENCE, wait_for
from support.receiver import BINARY, MEMORY_FACTOR, pgweir
from support.recovery import base_backup
from support.scenario import create_slot, promote_again, reported, streaming
from support.server import free_port

pytestmark = pytest.mark.in_memory

EVIL = "<img src=x onerror=document.title='owned'>"
WIDTHS = {"phone": 360, "desk": 1280, "wall": 2560}


@pytest.fixture
def browser(place):
    if not installed():
        pytest.skip("no chromium and chromium-driver (scripts/setup)")
    made = Browser(place)
    yield made
    made.close()


def ask(port, path="/", method="GET", body=None, **headers):
    """(status, headers, body); redirects are not followed."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method, data=body,
                                     headers={key.replace("_", "-"): value for key, value in headers.items()})
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=PATIENCE) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def replace(path, content, mode):
    """In one go, as whoever renews a secret should."""
    if content is None:
        path.unlink()
        return
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(content)
    fresh.chmod(mode)
    fresh.rename(path)


def raw(port, text):
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(text.encode())
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer.decode(errors="replace")


def looked_at(port):
    """The page has seen the directory."""
    wait_for(lambda: _status(port) == 200, "the page")


def _status(port):
    try:
        return ask(port)[0]
    except OSError:
        return None


def a_busy_archive(servers, receivers, place, new_archive, port, *options):
    """Three timelines, a hole, two backups, a slot about to be lost, and a file with a bad name."""
    primary = servers.primary(max_slot_wal_keep_size="24MB", wal_keep_size="24MB")
    create_slot(primary)
    archive = new_archive(primary)
    (archive.path / ".pgweir-history").write_text(json.dumps(two_weeks()))
    receiver = receivers.pgweir(archive, primary.conninfo(dbname="postgres"), "-S", "archive",
                                "--web-listen", str(port), "--backups", place / "backups",
                                *options)
    streaming(primary)
    (place / "backups").mkdir()
    reported(primary, primary.write_wal(2))
    base_backup(primary, place / "backups" / "sunday")
    reported(primary, primary.write_wal(4))
    promote_again(primary)
    reported(primary, primary.write_wal(3))
    base_backup(primary, place / "backups" / "monday")
    reported(primary, primary.write_wal(3))
    promote_again(primary)
    end = primary.write_wal(2)
    archive.wait_covers(primary, 3, end)
    finished = sorted(path for path in archive.path.iterdir() if re.fullmatch("00000001[0-9A-F]{16}", path.name))
    victim = finished[len(finished) // 2 + 1]
    victim.unlink()
    (archive.path / EVIL.replace("/", "")).write_text("no WAL")
    return primary, archive, receiver, victim


def sideways(browser):
    """Boxes whose content is seen only after scrolling sideways."""
    return browser.run("return Array.from(document.querySelectorAll('.scroll')).filter(e => e.scrollWidth > e.clientWidth)"
                       ".map(e => `${(e.closest('section') || e).id} ${e.scrollWidth} of ${e.clientWidth}`)")


def overlapping(browser, selector):
    """Pairs of texts within one drawing that lie on each other."""
    return browser.run("""
        const texts = Array.from(document.querySelectorAll(arguments[0]), e => [e, e.getBoundingClientRect()]);
        const pairs = [];
        for (const [a, p] of texts)
            for (const [b, q] of texts)
                if (a !== b && a.closest('svg') === b.closest('svg') && p.left < q.right && q.left < p.right &&
                    p.top < q.bottom && q.top < p.bottom)
                    pairs.push(`${a.textContent} ${b.textContent}`);
        return pairs;""", selector)


def letters(browser):
    """Pixels of the letters that are shown: the smallest, and the smallest of what decides."""
    return browser.run("""
        const size = (e) => parseFloat(getComputedStyle(e).fontSize) * e.currentCSSZoom;
        const shown = (e) => e.checkVisibility() && !e.closest('.aside, pre, option') &&
            Array.from(e.childNodes).some(n => n.nodeType === 3 && n.textContent.trim() !== '');
        const least = (within) => Math.min(...Array.from(document.querySelectorAll(within)).filter(shown).map(size));
        return [least('main *'), least('#verdict .word, #verdict .what, #verdict .todo, #verdict .exposure')];""")


# What a screen reader would read out, from now on: changes in live regions, but for what is hidden from it.
LISTEN = """
    window.heard = [];
    const regions = document.querySelectorAll('#lost, #news');
    const watch = new MutationObserver(changes => {
        for (const change of changes) {
            const at = change.target.nodeType === 1 ? change.target : change.target.parentElement;
            if (!at.closest('[aria-hidden=true]')) window.heard.push(at.closest('#lost, #news').textContent);
        }
    });
    for (const region of regions) watch.observe(region, {childList: true, characterData: true, subtree: true});"""


def polls(browser):
    return browser.run("return performance.getEntriesByType('resource').filter(e => e.name.endsWith('/main')).length")


def more_polls(browser, count=4):
    known = polls(browser)
    wait_for(lambda: polls(browser) >= known + count, "the page to be renewed a few times", interval=0.2)


def test_an_outage_in_a_real_browser(servers, receivers, new_archive, browser):
    primary = servers.primary()
    create_slot(primary)
    archive = new_archive(primary)
    port = free_port()
    receiver = receivers.pgweir(archive, primary.conninfo(dbname="postgres"), "-S", "archive", "--web-listen", str(port))
    streaming(primary)
    primary.write_wal(2)
    primary.sql("CREATE TABLE rows ()")  # a commit
    reported(primary, primary.flushed())
    looked_at(port)
    browser.size(WIDTHS["phone"], 800)
    browser.open(f"http://127.0.0.1:{port}/")
    wait_for(lambda: browser.text("#verdict .word") == "OK", "all to be well")
    assert browser.too_wide() == []
    wait_for(lambda: re.search(r"would be missing: nothing: .* The newest commit here is of 20\d\d-",
                               browser.text("#verdict")), "the directory to be read")
    browser.run(LISTEN)
    more_polls(browser)
    assert browser.run("return window.heard") == [], "figures are not read out"
    primary.stop()
    wait_for(lambda: browser.text("#verdict .word") == "WARNING", "the outage to be told")
    wait_for(lambda: re.search(r"\(\d+ times since 20", browser.text("#troubles") or ""), "a second attempt")
    assert "no WAL streams since" in browser.text("#receiver")
    assert "not known: no WAL streams" in browser.text("#receiver")
    assert f"127.0.0.1:{primary.port}, from which no WAL streams" in browser.text("#receiver")
    assert f"pgweir doctor -D {archive.path} -h 127.0.0.1 -p {primary.port} -S archive" in browser.texts(".command")
    assert "when it last streamed" in browser.text("#receiver")
    assert "all WAL written since" in browser.text("#verdict .exposure")
    more_polls(browser)
    heard = browser.run("return window.heard")
    assert len(heard) == 1 and "not_streaming" in heard[0], "what has changed in kind, once"
    assert browser.too_wide() == []
    assert sideways(browser) == []
    browser.screenshot("outage-phone-light")
    assert browser.complaints() == []
    # Without an answer: announced once, however long it lasts.
    receiver.stop()
    wait_for(lambda: browser.text("#lost"), "the loss to be said")
    first = browser.text("#lost")
    wait_for(lambda: browser.text("#lost") != first, "its duration to be renewed")
    heard = browser.run("return window.heard")
    assert len(heard) == 2 and "No answer since" in heard[1], heard
    assert browser.too_wide() == []


def test_an_archive_in_trouble_in_a_real_browser(servers, receivers, place, new_archive, browser):
    port = free_port()
    primary, archive, receiver, victim = a_busy_archive(servers, receivers, place, new_archive, port)
    primary.sql("CHECKPOINT")  # the one that follows a promotion
    primary.hush()  # so the page stays as it is
    looked_at(port)
    browser.size(WIDTHS["desk"], 900)
    browser.open(f"http://127.0.0.1:{port}/")
    wait_for(lambda: "segment missing" in (browser.text("#verdict") or ""), "the hole to be told")

    # In words, worst first, with what to do and where it stands.
    assert browser.text("#verdict .word") == "CRITICAL"
    wait_for(lambda: "max_slot_wal_keep_size" in browser.text("#verdict"), "the slot to be looked at")
    findings = browser.texts(".findings .what")
    assert re.search(r"CRITICAL 1 segment missing from 0/\w+ to 0/\w+ \(timeline 1, on the way to timeline 3\)", findings[0]), findings
    assert any("max_slot_wal_keep_size" in finding and "WARNING" in finding for finding in findings), findings
    assert "pgweir import" in browser.texts(".findings .todo")[0]
    assert victim.name in findings[0]
    commands = browser.texts(".findings .command")
    assert commands[0] == f"pgweir import -D {archive.path} SOURCE", commands
    assert commands[1].startswith(f"pgweir ack -D {archive.path} hole-"), commands
    assert "would be missing: nothing more than the WAL that is missing or damaged already" in browser.text("#verdict")
    assert "not verified" in browser.text("#recovery") and "sunday" in browser.text("#recovery")
    assert re.search(r"\(\d+%\)", browser.text("#archive")) and "Earliest point in time" in browser.text("#archive")
    link = browser.run("return document.querySelector('.chapter a').getAttribute('href')")
    assert link == "troubleshooting#the-server-no-longer-has-the-wal"
    assert browser.run("return document.title").startswith("CRITICAL")
    assert "left until it is invalidated" in browser.text("#receiver")
    assert f"127.0.0.1:{primary.port}" in browser.text("#receiver")

    # The tree: each timeline a row, the hole, the backups with what they can be recovered to.
    labels = browser.texts("#timelines svg .label")
    assert [label.split(",")[0] for label in labels] == ["timeline 1", "timeline 2", "timeline 3"]
    said = browser.says("#tree-x")
    assert sum("HOLE, 1 segment missing" in each for each in said) == 1, said
    assert sum(each.startswith("backup ") for each in said) == 2, said
    monday, = [each for each in said if "monday" in each]
    assert "recoverable up to" in monday
    assert browser.run("return document.querySelectorAll('#tree-x line.branch').length") == 2
    assert any("(.partial)" in each for each in said)
    assert "sunday" in browser.text("#recovery") and "monday" in browser.text("#recovery")

    # Two weeks and six hours, which were there before the receiver began.
    assert len(browser.texts("#hours tr")) == 15
    said_hours = browser.says("#hours-x")
    # (An hour that began between two connections of the receiver may say the same.)
    before_it = [each for each in said_hours if each[:10] < time.strftime("%Y-%m-%d", time.gmtime(time.time() - 2 * 86400))]
    assert len(said_hours) > 13 * 24 and sum("streamed 0% of the time" in each for each in before_it) == 2, said_hours
    # What was recorded before the archive had any WAL is not claimed.
    assert not any("its WAL is here" in each for each in before_it), before_it
    charts = [browser.says(f"#chart-{number}") for number in (1, 2, 3)]
    assert [len(each) for each in charts] == [72, 72, 72]
    assert any("45.8 MB behind at worst" in each for each in charts[0]), charts[0]
    assert any("p99 140 ms" in each for each in charts[2]), charts[2]
    assert "could not connect" in browser.text("#troubles") and "118 times" in browser.text("#troubles")

    # A name in the archive is a name.
    assert EVIL in browser.run("return document.querySelector('#text pre').textContent")
    assert browser.run("return document.images.length") == 0
    assert browser.run("return document.title") != "owned"

    # Widgets are told apart by their names.
    names = browser.run("return Array.from(document.querySelectorAll('[tabindex], summary, button, input'),"
                        " e => e.getAttribute('aria-label') || e.textContent)")
    assert len(names) >= 6 and all(names) and len(set(names)) == len(names), names
    # The keyboard alone.
    browser.run("document.body.focus()")
    for _ in range(30):
        if browser.focused() == "tree-x":
            break
        browser.press("Tab")
    assert browser.focused() == "tree-x"
    said = browser.says("#tree-x")
    browser.press("ArrowRight")
    first = browser.text("#tree-x .says-now")
    assert first == said[0]
    browser.press("End")
    assert browser.text("#tree-x .says-now") == said[-1]
    browser.press("Escape")
    assert browser.text("#tree-x .says-now").strip() == ""
    assert browser.complaints() == []

    for name, width in WIDTHS.items():
        for scheme in ("light", "dark"):
            browser.media(prefers_color_scheme=scheme)
            browser.size(width, 900)
            browser.screenshot(f"trouble-{name}-{scheme}")
            assert browser.too_wide() == [], name
            assert sideways(browser) == [], name
            assert overlapping(browser, ".chart .axis") == [], name
    # A wall display of 4K, read from 3 m: 1/50 of the height is 14 mm on a screen of 55 inches.
    browser.size(3840, 2160)
    browser.screenshot("trouble-wall-4k")
    assert browser.too_wide() == []
    smallest, decisive = letters(browser)
    assert decisive >= 2160 / 50 and smallest >= 2160 / 75, (smallest, decisive)
    assert browser.run("return document.querySelector('.findings .what').getBoundingClientRect().bottom") < 2160
    browser.media(type="print")
    browser.size(WIDTHS["desk"], 900)
    browser.screenshot("trouble-print")
    browser.media()

    # Live: a promotion comes by itself, and what has the focus keeps it.
    browser.run("document.getElementById('tree-x').focus()")
    promote_again(primary)
    reported(primary, primary.write_wal(2))
    wait_for(lambda: len(browser.texts("#timelines svg .label")) == 4, "timeline 4 to be drawn")
    assert browser.focused() == "tree-x"
    assert "switched to timeline 4" in wait_for(lambda: browser.text("#troubles"), "what happened")

    # A verification is known to it, and what it has found.
    damaged = sorted(path for path in archive.path.iterdir() if re.fullmatch("00000001[0-9A-F]{16}", path.name))[1]
    content = bytearray(damaged.read_bytes())
    content[5000:5100] = bytes(100)
    damaged.write_bytes(content)
    assert pgweir("verify", "-D", archive.path).returncode == 1
    wait_for(lambda: "the last verification failed" in browser.text("#verdict"), "the verification to be known")
    assert "FAILED" in browser.text("#recovery") and "not verified" not in browser.text("#recovery")
    assert "verify" in browser.run("return document.getElementById('news').textContent"), "what is new is announced"

    # The chapter is there, also without the world.
    browser.open(f"http://127.0.0.1:{port}/{link}")
    assert browser.text(":target") == "The server no longer has the WAL"
    assert browser.complaints() == []
    browser.size(WIDTHS["phone"], 800)
    assert browser.too_wide() == [] and sideways(browser) == []
    assert browser.run("return Math.max(...Array.from(document.querySelectorAll('.guide td'),"
                       " e => e.getBoundingClientRect().right))") <= WIDTHS["phone"], "what to do is on the screen"
    browser.size(WIDTHS["desk"], 900)

    # The server is lost, and comes back.
    browser.open(f"http://127.0.0.1:{port}/")
    icon = "return document.querySelector('link[rel=icon]').getAttribute('href')"
    wait_for(lambda: "%23b3202a" in browser.run(icon), "an icon of trouble")
    # In a tab in the background, a minute later.
    hidden = "Object.defineProperty(document, 'hidden', {get: () => %s, configurable: true})"
    browser.run(hidden % "true")
    receiver.stop()
    browser.run("const now = Date.now; Date.now = () => now() + 61000")
    wait_for(lambda: re.match(r"✕ No answer since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, for 1 min\.",
                              browser.text("#lost") or ""), "the loss to be said")
    title = browser.run("return document.title")
    assert title == f"✕ no answer for 1 min · {archive.path} · pgweir"
    assert "%236b7680" in browser.run(icon)
    assert browser.run("return getComputedStyle(document.getElementById('main')).filter") == "grayscale(1)"
    assert browser.complaints() != []  # the requests that failed
    browser.screenshot("lost-desk-light")
    browser.run(hidden % "false")
    receivers.pgweir(archive, primary.conninfo(dbname="postgres"), "-S", "archive", "--web-listen", str(port))
    wait_for(lambda: browser.text("#lost") is None, "the server to be back")
    wait_for(lambda: browser.run("return document.title").startswith("CRITICAL"), "the title of before")
    assert "%23b3202a" in browser.run(icon)
    assert browser.run("return getComputedStyle(document.getElementById('main')).filter") == "none"


def test_a_directory_whose_name_is_no_utf8(servers, receivers, new_archive, browser):
    primary = servers.primary()
    archive = new_archive(primary, os.fsdecode(b"lat\xe4in"))
    port = free_port()
    receivers.pgweir(archive, primary, "--web-listen", str(port))
    streaming(primary)
    looked_at(port)
    browser.open(f"http://127.0.0.1:{port}/")
    browser.run("document.title = 'as of before'")
    title = wait_for(lambda: re.search("lat.in", browser.run("return document.title")), "the page to be renewed").string
    assert "lat\ufffdin · pgweir" in title and browser.text("#lost") is None


def test_one_file_without_scripts(servers, receivers, place, new_archive, browser):
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    reported(primary, primary.write_wal(3))
    (archive.path / EVIL).write_text("no WAL")
    page = place / "status.html"
    done = pgweir("status", "-D", archive.path, "--html", page)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert "<script" not in text and "<img" not in text and "http" not in re.sub(r"http-equiv", "", text)
    browser.size(WIDTHS["desk"], 900)
    browser.open(page.as_uri())
    assert browser.text("#verdict .word") == "OK"
    assert "Streaming from" in browser.text("#verdict")
    assert browser.run("return getComputedStyle(document.querySelector('#verdict')).borderLeftWidth") == "10px"
    assert f"Archive {archive.path}" in browser.text("#text pre")
    assert browser.complaints() == []
    browser.screenshot("single-file")
    receiver.stop()
    assert pgweir("status", "-D", archive.path, "--html", page).returncode == 0
    browser.open(page.as_uri())
    assert browser.text("#verdict .word") == "CRITICAL"
    assert "no receiver runs" in browser.text("#verdict")
    refused = pgweir("status", "-D", archive.path, "--html", place / "nowhere" / "x.html")
    assert refused.returncode == 4 and "nowhere" in refused.stderr


def test_only_what_there_is_for_whom_it_is(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    port = free_port()
    receivers.pgweir(archive, primary, "--web-listen", str(port), "--web-host", "wal.example.org",
                     "--ready-max-lag", "1GB")
    streaming(primary)
    looked_at(port)
    assert ask(port, "/healthz")[::2] == (200, "ok\n")
    wait_for(lambda: ask(port, "/readyz")[0] == 200, "it to be ready")
    status, headers, _ = ask(port)
    assert status == 200 and "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    wait_for(lambda: json.loads(ask(port, "/status.json")[2])["receiver"]["state"] == "streaming", "the state of the stream")
    # the port of the page has the metrics, too
    assert "pgweir_receiver_up" in ask(port, "/metrics")[2]
    for path in ("/../", "/../../etc/passwd", "/%2e%2e/etc/passwd", "//etc/passwd", "/.pgweir-status",
                 *(f"/{name}" for name in archive.names())):
        assert raw(port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith("HTTP/1.1 404 "), path
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH"):
        answer = raw(port, f"{method} / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert re.match(r"HTTP/1.1 40[05] ", answer), answer
    assert ask(port, method="HEAD")[::2] == (200, "")
    for host in ("evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example"):
        assert ask(port, Host=host)[0] == 421, host
        assert ask(port, "/status.json", Host=host)[0] == 421
        assert ask(port, "/healthz", Host=host)[0] == 200, "a probe comes by any name"
    for host in ("wal.example.org", "LOCALHOST:1", f"127.0.0.1:{port}", "[::1]"):
        assert ask(port, Host=host)[0] == 200, host
    for nonsense in ("\x16\x03\x01\x02\x00", "GET /\r\n\r\n", "GET / HTTP/1.1\r\nX: " + "x" * 20000, "\r\n" * 3):
        assert "200" not in raw(port, nonsense)[:12]
    assert ask(port)[0] == 200


def test_probes_tell_why(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    port = free_port()
    receivers.pgweir(archive, primary, "--web-listen", str(port))
    streaming(primary)
    wait_for(lambda: ask(port, "/readyz")[0] == 200, "it to be ready")
    primary.stop()
    wait_for(lambda: ask(port, "/readyz")[0] == 503, "it not to be")
    assert "does not stream" in ask(port, "/readyz")[2]
    assert str(primary.port) not in ask(port, "/readyz")[2]
    assert ask(port, "/healthz")[0] == 200


def test_others_need_the_token(servers, receivers, place, new_archive, browser):
    primary = servers.primary()
    archive = new_archive(primary)
    port = free_port()
    token = place / "token"
    refused = pgweir("receive", "-D", archive.path, "-d", primary.conninfo(), "--web-listen", f"*:{port}")
    assert refused.returncode == 2 and "--web-token-file" in refused.stderr
    for content, mode, why in (("0123456789abcdef\n", 0o644, "others have access"), ("short", 0o600, "16 characters"),
                               ("a" * 20 + "\n" + "b" * 20, 0o600, "single line")):
        token.write_text(content)
        token.chmod(mode)
        refused = pgweir("receive", "-D", archive.path, "-d", primary.conninfo(), "--web-listen", f"*:{port}",
                         "--web-token-file", token)
        assert refused.returncode == 2 and why in refused.stderr, refused.stderr
    token.write_text("a secret of this test\n")
    token.chmod(0o600)
    receiver = receivers.pgweir(archive, primary, "--web-listen", f"*:{port}", "--web-token-file", token,
                                "--metrics-listen", f"0.0.0.0:{port}")
    streaming(primary)
    good = "Bearer a secret of this test"
    wait_for(lambda: ask(port, Authorization=good)[0] == 200, "the page")
    assert ask(port)[0] == 303
    assert ask(port, "/status.json")[0] == 401
    assert ask(port, "/status.json", Authorization="Bearer another")[0] == 401
    assert ask(port, "/healthz")[0] == 200
    # --metrics-listen of the same port: without a token, as by itself
    assert "pgweir_receiver_up" in ask(port, "/metrics", Host="prometheus.example")[2]
    assert ask(port, "/login", "POST", b"token=wrong")[0] == 403

    browser.size(WIDTHS["desk"], 700)
    browser.open(f"http://127.0.0.1:{port}/")
    assert browser.text("#login label").startswith("Token")
    browser.screenshot("login")
    wait_for(lambda: browser.focused() == "token", "the field to be focused")
    browser.press(*"wrong", "Enter")
    wait_for(lambda: "Wrong token" in (browser.text("#login") or ""), "the refusal")
    assert [each for each in browser.complaints() if "403" not in each] == []
    wait_for(lambda: browser.focused() == "token", "the field to be focused again")
    browser.press(*"a secret of this test", "Enter")
    wait_for(lambda: browser.text("#verdict .word") == "OK", "the page")
    assert browser.run("return document.cookie") == "", "no script sees it"
    browser.run("document.querySelector('.log-out button').click()")
    wait_for(lambda: browser.text("#login label"), "the form after the end of the session")
    wait_for(lambda: browser.focused() == "token", "the field to be focused after the end of the session")
    browser.press(*"a secret of this test", "Enter")
    wait_for(lambda: browser.text("#verdict .word") == "OK", "the page again")
    # A proxy's own password does not keep the form away, and a cookie by TLS stays there.
    assert ask(port, Authorization="Basic YTpi")[0] == 303
    assert "; Secure" in ask(port, "/login", "POST", b"token=a secret of this test", X_Forwarded_Proto="https")[1]["Set-Cookie"]
    assert "a secret" not in receiver.said()

    # A new token, after SIGHUP; what is wrong leaves the old one.
    wrong = (("half\n", 0o600, "16 characters"), ("the next secret of it\n", 0o644, "others have access"),
             (None, 0, "cannot be read"))
    for number, (content, mode, why) in enumerate(wrong, 1):
        replace(token, content, mode)
        receiver.send(signal.SIGHUP)
        wait_for(lambda: receiver.said().count("the previous token stays in effect") == number, "the refusal")
        assert why in receiver.said()
        assert ask(port, Authorization=good)[0] == 200
    replace(token, "the next secret of it\n", 0o600)
    receiver.send(signal.SIGHUP)
    receiver.wait_log("reloaded the token file")
    assert ask(port, "/main", Authorization=good)[0] == 401
    assert ask(port, "/main", Authorization="Bearer the next secret of it")[0] == 200
    wait_for(lambda: browser.text("#login"), "who came by the old one to be asked for the new one")


def test_the_figures_survive_a_restart(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    port = free_port()
    kept = archive.path / ".pgweir-history"
    kept.write_text("{ not one")
    receiver = receivers.pgweir(archive, primary, "--web-listen", str(port))
    streaming(primary)
    reported(primary, primary.write_wal(1))
    looked_at(port)
    promote_again(primary)
    reported(primary, primary.write_wal(1))
    wait_for(lambda: "switched to timeline 2" in ask(port, "/main")[2], "what happened")
    receiver.stop()  # the last word
    assert kept.stat().st_mode & 0o777 == 0o600
    receiver = receivers.pgweir(archive, primary, "--web-listen", str(port))
    looked_at(port)
    wait_for(lambda: "switched to timeline 2" in ask(port, "/main")[2], "what had happened before")
    assert ".pgweir-history" not in pgweir("status", "-D", archive.path).stdout
    assert pgweir("verify", "-D", archive.path).returncode == 0


def test_slow_clients_hold_up_neither_the_page_nor_the_receiver(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    port = free_port()
    receiver = receivers.pgweir(archive, primary, "--web-listen", str(port))
    streaming(primary)
    looked_at(port)
    primary.pgbench_init()
    slow = []
    for number in range(100):
        connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        if number % 2:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")  # and reads nothing
        else:
            connection.sendall(b"GET / HTTP/1.1\r\nHo")  # and says nothing more
        slow.append(connection)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        writers = pool.submit(primary.pgbench, clients=8, transactions=50)
        answers = 0
        while not writers.done() or answers < 10:
            assert ask(port, "/main")[0] == 200
            answers += 1
        writers.result()
    reported(primary, primary.flushed())
    for connection in slow:
        connection.close()
    assert ask(port)[0] == 200
    descriptors = len(os.listdir(f"/proc/{receiver.pid}/fd"))
    assert descriptors < 200, descriptors


def test_many_archives_the_worst_first(servers, receivers, place, new_archive, browser):
    primary = servers.primary()
    good, bad, other = (new_archive(primary, name) for name in ("good", "bad", "other"))
    ports = {name: free_port() for name in ("other", "fleet")}
    token = place / "token"
    token.write_text("a secret of this test\n")
    token.chmod(0o600)
    receivers.pgweir(good, primary)
    streaming(primary)
    elsewhere = receivers.pgweir(other, primary, "--web-listen", f"0.0.0.0:{ports['other']}", "--web-token-file", token)
    wait_for(lambda: len(primary.walsenders()) == 2, "both to stream")
    reported(primary, primary.write_wal(4))
    for archive in (good, other):
        archive.wait_covers(primary, 1, primary.flushed())
    for path in good.finished().values():
        (bad.path / path.name).write_bytes(path.read_bytes())
    (bad.path / sorted(path.name for path in bad.path.iterdir())[1]).unlink()
    (bad.path / ".pgweir-history").write_text(json.dumps(two_weeks()))  # of a receiver that no longer runs
    (place / "fleet.ini").write_text(
        f"[good]\ndirectory = {good.path}\n"
        f"[bad]\ndirectory = {bad.path}\nreceiver = none\n"
        f"[other]\nurl = http://127.0.0.1:{ports['other']}\ntoken-file = {token}\n"
        f"[gone]\nurl = http://127.0.0.1:{free_port()}\n"
        f"[unmounted]\ndirectory = {place}/nowhere\n")
    process = receivers.start([BINARY, "web", "--fleet", place / "fleet.ini", "--web-listen", str(ports["fleet"])])
    process.wait_log("5 archives at http")
    browser.size(WIDTHS["desk"], 900)
    browser.open(f"http://127.0.0.1:{ports['fleet']}/")
    rows = "#fleet tr[id]"
    wait_for(lambda: not any("not asked" in row for row in browser.texts(rows)), "all to be asked")
    wait_for(lambda: browser.text("#verdict .title") == "3 of 5 need attention", "the figures")
    assert browser.texts("#kinds button") == ["all: 5", "WAL lost: 1", "not archiving: 2", "well: 2"]
    shown = "return Array.from(document.querySelectorAll('#fleet tr[id]')).filter(e => !e.hidden).map(e => e.id)"
    browser.run("document.querySelector('#kinds button[data-kind=lost]').click()")
    assert browser.run(shown) == ["row-bad"]
    browser.run("document.querySelector('#kinds button').click()")
    browser.run("const f = document.getElementById('filter'); f.value = 'GOO'; f.dispatchEvent(new Event('input'))")
    assert browser.run(shown) == ["row-good"]
    browser.run("const f = document.getElementById('filter'); f.value = ''; f.dispatchEvent(new Event('input'))")
    assert len(browser.run(shown)) == 5
    assert browser.run("return document.body.textContent.split('acknowledge').length") <= 2, "advice is given once"
    order = browser.run("return Array.from(document.querySelectorAll(arguments[0]), e => e.id)", rows)
    assert order[0] == "row-bad" and set(order[1:3]) == {"row-gone", "row-unmounted"}, order
    assert order[3:] == ["row-good", "row-other"], order
    # Nobody has recorded the hole, and the others have never answered: they were so before.
    for name in ("bad", "gone", "unmounted"):
        assert re.search(r"before 20\d\d-", browser.text(f"#row-{name}")), name
    advice = browser.text("#advice")
    assert advice.count("The page does not answer (1 archive)") == 1
    assert re.search(r"curl -sS -m 10 http://127.0.0.1:\d+/healthz", advice), advice
    assert f"pgweir status -D {place}/nowhere" in advice and "The directory cannot be read (1 archive)" in advice
    assert "missing from" in browser.text("#row-bad")
    assert "does not answer" in browser.text("#row-gone") and "CRITICAL" in browser.text("#row-gone")
    wait_for(lambda: "caught up" in browser.text("#row-other"), "the third to be told as it is")
    assert browser.complaints() == []
    for name, width in WIDTHS.items():
        browser.size(width, 700)
        browser.screenshot(f"fleet-{name}")
        assert browser.too_wide() == [], name
    browser.size(WIDTHS["phone"], 700)
    heights = browser.run("return Array.from(document.querySelectorAll('#fleet tr[id]'), e => e.getBoundingClientRect().height)")
    assert max(heights) < 50, "one line each"
    browser.size(WIDTHS["desk"], 700)
    # one click to each
    browser.run("document.querySelector('#row-bad a').focus()")
    browser.press("Enter")
    wait_for(lambda: "segment missing" in (browser.text("#verdict") or ""), "its own page")
    assert browser.run("return location.pathname") == "/archive/bad/"
    assert any("HOLE" in each for each in browser.says("#tree-x"))
    assert len(browser.says("#chart-1")) == 72 and len(browser.texts("#hours tr")) == 15, "though no receiver runs"
    assert "118 times since" in browser.text("#troubles")
    browser.run("document.querySelector('.chapter a').click()")
    wait_for(lambda: browser.text(":target") == "The server no longer has the WAL", "the chapter")
    assert browser.complaints() == []
    for path in ("/archive/", "/archive/none/", "/archive/good", "/archive/../etc/passwd", "/archive/good/../bad/"):
        assert raw(ports["fleet"], f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith("HTTP/1.1 404 "), path
    assert ask(ports["fleet"], "/archive/other/")[0] == 303
    # The token of a page elsewhere changes: here it is read anew by SIGHUP.
    replace(token, "the next secret of it\n", 0o600)
    elsewhere.send(signal.SIGHUP)
    elsewhere.wait_log("reloaded the token file")
    wait_for(lambda: "rejects the token of token-file" in ask(ports["fleet"])[2], "the old one to be refused")
    token.chmod(0o644)
    process.send(signal.SIGHUP)
    process.wait_log("the previous token stays in effect")
    token.chmod(0o600)
    process.send(signal.SIGHUP)
    process.wait_log("reloaded the token file")
    wait_for(lambda: "rejects the token of token-file" not in ask(ports["fleet"])[2], "the new one to be taken")
    assert ask(ports["fleet"], Host="evil.example")[0] == 421
    process.stop()


def poll(port, known):
    """What our script does: (bytes of the answer, headers to send the next time, body)."""
    headers = "".join(f"{name}: {known[key]}\r\n" for name, key in (("If-None-Match", "ETag"), ("X-Parts", "X-Parts"))
                      if known.get(key))
    text = f"GET /main HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n{headers}\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(text.encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert " 200 " in lines[0] or " 304 " in lines[0], lines[0]
    return len(answer), {**known, **dict(line.split(": ", 1) for line in lines[1:])}, body


def test_an_idle_tab_costs_little(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    port = free_port()
    receivers.pgweir(archive, primary, "--web-listen", str(port))
    streaming(primary)
    reported(primary, primary.write_wal(2))
    primary.hush()
    looked_at(port)

    wait_for(lambda: 'id="timelines"' in ask(port, "/main")[2], "the archive to be seen")
    size, known, body = poll(port, {})
    whole = ask(port, "/main")[2]
    assert gzip.decompress(body)[:7] == b"<header" and len(body) < len(whole) / 2
    size_of_quiet = size
    # Everything else has settled; then only what tells of the server's messages changes.
    def quiet():
        nonlocal known, size_of_quiet
        size_of_quiet, known, _ = poll(port, known)
        return size_of_quiet < 400

    wait_for(quiet, "a poll without news")
    size, _, _ = poll(port, {**known, "ETag": '"0"'})
    assert size < len(whole) / 4, "parts that are known are not sent again"
    assert size_of_quiet * 86400 / 2 < 50e6, "bytes of a day, with a poll every two seconds"


def test_a_tab_costs_little_while_wal_flows(servers, receivers, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    port = free_port()
    receivers.pgweir(archive, primary, "--web-listen", str(port))
    streaming(primary)
    primary.sql("CREATE TABLE rows (number int)")
    reported(primary, primary.write_wal(2))
    looked_at(port)
    wait_for(lambda: 'class="bar"' in ask(port, "/main")[2], "figures, which are sampled every ten seconds")
    _, known, _ = poll(port, {})
    began = time.monotonic()
    sizes = []
    stop = threading.Event()

    def write():
        while not stop.wait(0.2):
            primary.sql("INSERT INTO rows SELECT generate_series(1, 100)")

    with concurrent.futures.ThreadPoolExecutor() as pool:
        writer = pool.submit(write)
        try:
            while time.monotonic() < began + 31:
                stop.wait(2)
                size, known, body = poll(port, known)
                sizes.append((size, bool(body)))
        finally:
            stop.set()
        writer.result()
    took = time.monotonic() - began
    news = [size for size, is_news in sizes if is_news]
    none = [size for size, is_news in sizes if not is_news]
    # Every ten seconds, whatever is written meanwhile; and once more if something else than a figure has changed.
    assert 1 <= len(news) <= took // 10 + 4, (took, sizes)
    assert none and max(none) < 500
    day = sum(news) / took * 86400 + max(none) * 86400 / 2
    print(f"{len(news)} answers with news, {sum(news) / len(news):.0f} bytes each; {max(none)} bytes without; {day / 1e6:.1f} MB a day")
    assert day < 50e6, (news, none)


def test_the_clusters_name_is_shown(servers, receivers, place, new_archive):
    primary = servers.primary(cluster_name="orders")
    archive = new_archive(primary)
    port = free_port()
    receiver = receivers.pgweir(archive, primary, "--web-listen", str(port))
    streaming(primary)
    looked_at(port)
    assert f"<title>OK · orders · {archive.path} · pgweir</title>" in ask(port)[2]
    assert json.loads(ask(port, "/status.json")[2])["receiver"]["cluster_name"] == "orders"
    status = pgweir("status", "-D", archive.path)
    assert f"server 127.0.0.1:{primary.port}, cluster orders, since" in status.stdout, status.stdout
    receiver.stop()
    # It is remembered where no receiver runs.
    assert pgweir("status", "-D", archive.path, "--html", place / "status.html").returncode == 0
    assert f"CRITICAL · orders · {archive.path}" in (place / "status.html").read_text()
    (place / "fleet.ini").write_text(f"[main]\ndirectory = {archive.path}\n")
    receivers.start([BINARY, "web", "--fleet", place / "fleet.ini", "--web-listen", str(port)]).wait_log("1 archives")
    wait_for(lambda: f"{archive.path}, cluster orders" in ask(port)[2], "the name in the table")


def behind_tls(port, key, certificate):
    """The port of a proxy that speaks TLS and passes requests on to `port`; a thread for each connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection):
        try:
            with context.wrap_socket(connection, server_side=True) as client, \
                    socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as page:
                request = b""
                while b"\r\n\r\n" not in request and (piece := client.recv(65536)):
                    request += piece
                page.sendall(request)
                while piece := page.recv(65536):
                    client.sendall(piece)
        except OSError:
            pass  # who does not trust the certificate hangs up

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # closed
            threading.Thread(target=serve, args=[connection], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener


def test_a_page_at_https_is_verified(servers, receivers, place, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    port, table = free_port(), free_port()
    receivers.pgweir(archive, primary, "--web-listen", str(port))
    streaming(primary)
    looked_at(port)
    ours, other = Authority(place, "ours"), Authority(place, "other")
    listener = behind_tls(port, *ours.sign("page", "localhost"))
    url = f"https://localhost:{listener.getsockname()[1]}"
    web = [BINARY, "web", "--fleet", place / "fleet.ini", "--web-listen", str(table)]

    def rows():
        html = ask(table)[2]
        return {name: re.search(f'<tr id="row-{name}".*?</tr>', html, re.DOTALL).group() for name in names}, html

    try:
        names = ("named", "wrong", "system")
        (place / "fleet.ini").write_text(f"[named]\nurl = {url}\nca = {ours.certificate}\n"
                                         f"[wrong]\nurl = {url}\nca = {other.certificate}\n"
                                         f"[system]\nurl = {url}\n")
        process = receivers.start(web)
        process.wait_log("3 archives")
        wait_for(lambda: not any("not asked" in row for row in rows()[0].values()), "all to be asked")
        wait_for(lambda: "caught up" in rows()[0]["named"], "the page that is trusted")
        said, html = rows()
        for name in ("wrong", "system"):
            assert "does not answer: " in said[name] and "certificate" in said[name], said
        assert "<b>The certificate is not trusted</b> (2 archives): " in html
        process.stop()
        # The option is for those that name none.
        process = receivers.start([*web, "--fleet-ca", ours.certificate])
        process.wait_log("3 archives")
        wait_for(lambda: not any("not asked" in row for row in rows()[0].values()), "all to be asked")
        wait_for(lambda: all("caught up" in rows()[0][name] for name in ("named", "system")), "the pages that are trusted")
        said, _ = rows()
        assert "does not answer: " in said["wrong"], said
        process.stop()
    finally:
        listener.close()
    refused = pgweir(*web[1:], "--fleet-ca", place / "nowhere.crt")
    assert refused.returncode == 2 and "CA certificates cannot be read" in refused.stderr, refused.stderr


def test_a_query_in_progress_is_ended_before_the_program(receivers, place):
    """exit() frees what the libraries of a thread that still queries use."""
    silent, endless = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    asked = [threading.Event(), threading.Event()]

    def be_silent():
        with silent.accept()[0] as connection:
            asked[0].set()
            while connection.recv(65536):  # what it says of TLS
                pass

    def never_end():
        try:
            with endless.accept()[0] as connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8000000\r\n\r\n{")
                asked[1].set()
                while True:  # faster than what counts as silence
                    connection.sendall(b" " * 2000)
                    time.sleep(0.1)
        except OSError:
            pass  # closed

    threads = [threading.Thread(target=page, daemon=True) for page in (be_silent, never_end)]
    for thread in threads:
        thread.start()
    ports = [listener.getsockname()[1] for listener in (silent, endless)]
    (place / "fleet.ini").write_text(f"[silent]\nurl = https://127.0.0.1:{ports[0]}\n[endless]\nurl = http://127.0.0.1:{ports[1]}\n")
    trace = place / "trace"
    # The tracer is not the process that is stopped; the search for leaks does not work while it is traced.
    process = receivers.start(["strace", "-D", "-f", "-qq", "-o", trace, "-E", "ASAN_OPTIONS=detect_leaks=0", "-e",
                               "trace=connect,exit,exit_group", BINARY, "web", "--fleet", place / "fleet.ini", "--web-listen",
                               str(free_port())])
    process.wait_log("2 archives")
    for event in asked:
        assert event.wait(PATIENCE)
    process.stop()
    ended = wait_for(lambda: re.search(rf"^{process.pid} +exit_group\(0\)", trace.read_text(), re.MULTILINE), "the trace's end")
    before = trace.read_text()[:ended.start()]
    for port in ports:
        thread = re.search(rf"^(\d+) +connect\(.*htons\({port}\)", before, re.MULTILINE)[1]
        assert re.search(rf"^{thread} +exit\(0\)", before, re.MULTILINE), f"{thread} was not waited for:\n{before}"
    for thread in threads:
        thread.join(PATIENCE)
    silent.close()
    endless.close()


def test_two_hundred_archives_in_one_process(servers, receivers, place, new_archive):
    primary = servers.primary()
    archive = new_archive(primary)
    receivers.pgweir(archive, primary)
    streaming(primary)
    reported(primary, primary.write_wal(2))
    port = free_port()
    (place / "fleet.ini").write_text("".join(f"[a{number}]\ndirectory = {archive.path}\n" for number in range(200)))
    process = receivers.start([BINARY, "web", "--fleet", place / "fleet.ini", "--web-listen", str(port)])
    process.wait_log("200 archives")
    wait_for(lambda: "all 200 are well" in ask(port)[2], "all to be asked")
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    resident = int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1))
    assert resident < 150_000 * MEMORY_FACTOR, f"{resident} kB"
    assert len(ask(port)[2]) < 200_000
    process.stop()


def test_a_copy_needs_no_receiver_but_wal(servers, receivers, place, new_archive):
    """Its own page must say what the table says, and neither may take a directory that is not mounted for an archive."""
    primary = servers.primary()
    archive = new_archive(primary)
    receiver = receivers.pgweir(archive, primary)
    streaming(primary)
    reported(primary, primary.write_wal(2))
    receiver.stop()
    (place / "unmounted").mkdir()
    (place / "fleet.ini").write_text(f"[copy]\ndirectory = {archive.path}\nreceiver = none\n"
                                     f"[unmounted]\ndirectory = {place}/unmounted\nreceiver = none\n")
    port = free_port()
    receivers.start([BINARY, "web", "--fleet", place / "fleet.ini", "--web-listen", str(port)]).wait_log("2 archives")
    wait_for(lambda: "not asked" not in ask(port)[2], "both to be asked")
    rows = {name: re.search(f'<tr id="row-{name}".*?</tr>', ask(port)[2], re.DOTALL)[0] for name in ("copy", "unmounted")}
    assert "at rest" in rows["copy"] and 'data-kind="well"' in rows["copy"], rows["copy"]
    assert "no WAL is here" in rows["unmounted"] and "CRITICAL" in rows["unmounted"], rows["unmounted"]

    def verdict(name):
        return re.search('<section id="verdict".*?</section>', ask(port, f"/archive/{name}/")[2], re.DOTALL)[0]

    assert 'class="ok"' in verdict("copy") and "no receiver runs" not in verdict("copy"), verdict("copy")
    assert "no WAL is here" in verdict("unmounted") and "no receiver runs" not in verdict("unmounted"), verdict("unmounted")


def test_a_fleet_file_is_read_with_care(place):
    for text, why in (("[a]\n", "either a directory or a url"), ("[a]\nurl = gopher://x\n", "http://"), ("", "does not list any archives")):
        (place / "fleet.ini").write_text(text)
        refused = pgweir("web", "--fleet", place / "fleet.ini", "--web-listen", str(free_port()))
        assert refused.returncode == 2 and why in refused.stderr, refused.stderr
    assert pgweir("web", "--web-listen", str(free_port())).returncode == 2
    assert pgweir("web", "--fleet", place / "fleet.ini").returncode == 2
