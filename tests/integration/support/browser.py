"""A real browser: Debian's Chromium, driven by chromedriver over the W3C WebDriver protocol, with
nothing but Python's own library."""

import base64
import json
import os
import pathlib
import shutil
import signal
import subprocess
import urllib.request

from .process import PATIENCE, die_with_parent, wait_for
from .server import REPOSITORY, free_port

# Looked at by people, and kept by CI.
SCREENSHOTS = pathlib.Path(os.environ.get("PGWEIR_SCREENSHOTS", REPOSITORY / "build" / "screenshots"))
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c", "End": "\ue010", "Home": "\ue011",
        "ArrowLeft": "\ue012", "ArrowUp": "\ue013", "ArrowRight": "\ue014", "ArrowDown": "\ue015"}


def installed():
    return bool(shutil.which("chromedriver") and shutil.which("chromium"))


class Browser:
    """One driver and one window. Close it."""

    def __init__(self, place, dark=False):
        self._port = free_port()
        self._log = open(place / "chromedriver.log", "ab")
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={self._port}"], stdout=self._log, stderr=self._log,
            env={**os.environ, "HOME": str(place), "TMPDIR": str(place)},
            start_new_session=True, preexec_fn=die_with_parent(signal.SIGTERM))
        try:
            wait_for(self._ready, "chromedriver")
            arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                         "--no-first-run", "--hide-scrollbars", f"--user-data-dir={place}/chromium"]
            if dark:
                arguments.append("--blink-settings=preferredColorScheme=0")
            answer = self._post("/session", {"capabilities": {"alwaysMatch": {
                "browserName": "chrome", "goog:loggingPrefs": {"browser": "ALL"},
                "goog:chromeOptions": {"args": arguments, "binary": shutil.which("chromium")}}}})
            self._session = f"/session/{answer['sessionId']}"
        except BaseException:
            self.close()
            raise

    def close(self):
        if getattr(self, "_session", None):
            try:
                self._ask("DELETE", self._session)
            except OSError:
                pass
        self._driver.terminate()
        self._driver.wait(PATIENCE)
        self._log.close()

    def _ready(self):
        assert self._driver.poll() is None, "chromedriver ended"
        try:
            return self._ask("GET", "/status")["ready"]
        except OSError:
            return False

    def _ask(self, method, path, body=None):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}{path}", method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"]) from None

    def _post(self, path, body):
        return self._ask("POST", path, body)

    def open(self, url):
        self._post(f"{self._session}/url", {"url": url})

    def size(self, width, height):
        self._post(f"{self._session}/window/rect", {"width": width, "height": height})
        # The window has a frame; what counts is inside. One narrower than 500 there is not.
        self.command("Emulation.setDeviceMetricsOverride",
                     {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})

    def media(self, **features):
        """prefers_color_scheme="dark"; type="print"."""
        self.command("Emulation.setEmulatedMedia", {
            "media": features.pop("type", ""),
            "features": [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]})

    def command(self, name, parameters):
        return self._post(f"{self._session}/goog/cdp/execute", {"cmd": name, "params": parameters})

    def run(self, script, *arguments):
        return self._post(f"{self._session}/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector):
        """What can be read there, with plain spaces; None if it is not there, or not shown."""
        return self.run("const e = document.querySelector(arguments[0]);"
                        "return e && !e.hidden ? e.innerText.replaceAll('\\u00a0', ' ') : null", selector)

    def texts(self, selector):
        return self.run("return Array.from(document.querySelectorAll(arguments[0]),"
                        " e => e.textContent.replaceAll('\\u00a0', ' '))", selector)

    def says(self, selector):
        """What the shapes of a drawing say."""
        return self.run("return Array.from(document.querySelectorAll(arguments[0] + ' .says'),"
                        " e => (e.title || e.querySelector('title').textContent).replaceAll('\\u00a0', ' '))", selector)

    def press(self, *keys):
        actions = []
        for key in keys:
            actions += [{"type": kind, "value": KEYS.get(key, key)} for kind in ("keyDown", "keyUp")]
        self._post(f"{self._session}/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def focused(self):
        return self.run("const e = document.activeElement; return e.id || e.tagName + ':' + e.textContent")

    def too_wide(self):
        """What makes the page wider than the window; nothing if it is not."""
        return self.run("""
            const width = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= width) return [];
            return Array.from(document.querySelectorAll('body *')).filter(
                e => !e.closest('.scroll') && e.getBoundingClientRect().right > width
            ).map(e => `${e.tagName}.${e.getAttribute('class')} ${e.getBoundingClientRect().right} ${e.textContent.slice(0, 40)}`)
            .concat([`${document.documentElement.scrollWidth} of ${width}`]);""")

    def complaints(self):
        """What the console has said since the last call."""
        return [entry["message"] for entry in self._post(f"{self._session}/se/log", {"type": "browser"})
                if entry["level"] in ("SEVERE", "WARNING")]

    def screenshot(self, name, upto=None):
        """Of the whole page, or down to the end of what the selector `upto` names."""
        options = {"format": "png", "captureBeyondViewport": True}
        if upto:
            end = self.run("const box = document.querySelector(arguments[0]).getBoundingClientRect();"
                           "return {width: document.documentElement.clientWidth, height: box.bottom + scrollY + 12}", upto)
            options["clip"] = {"x": 0, "y": 0, "scale": 1, **end}
        shot = self.command("Page.captureScreenshot", options)
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        path.write_bytes(base64.b64decode(shot["data"]))
        assert path.stat().st_size > 5000
        return path
