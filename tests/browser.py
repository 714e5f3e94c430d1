"""A headless Chromium that opens local pages, over its DevTools pipe: no driver and no package."""

import json
import os
import shutil
import subprocess
import tempfile
from typing import NamedTuple

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
           "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe")  # fmt: skip
# Lazy pictures are asked for at once; then all are waited for, the broken ones, too.
LOOK = """(async () => {
  const images = [...document.images];
  for (const image of images) image.loading = "eager";
  await Promise.all(images.map(image => image.decode().catch(() => null)));
  const broken = images.filter(image => !image.naturalWidth).map(image => image.src);
  return {title: document.title, images: images.length, broken};
})()"""


class Seen(NamedTuple):
    """Of a page: its title, how many pictures it has, which did not load, and what went to the console as an error."""

    title: str
    images: int
    broken: list
    errors: list


class Browser:
    """`with Browser() as browser: browser.open(path)`."""

    def __enter__(self):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_child, self.write = os.pipe()
        self.read, from_child = os.pipe()
        command = [CHROMIUM, *OPTIONS, f"--user-data-dir={self.profile.name}"]
        # Chromium reads commands from descriptor 3 and answers on 4.
        script = f'exec 3<&{to_child} 4>&{from_child}; exec "$@"'
        self.process = subprocess.Popen(
            ["bash", "-c", script, "bash", *command], pass_fds=(to_child, from_child),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_child)
        os.close(from_child)
        self.answers, self.number, self.events = os.fdopen(self.read, "rb", buffering=0), 0, []
        self.rest = b""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)
        self.answers.close()
        os.close(self.write)
        self.profile.cleanup()

    def open(self, path):
        """Loads the file and looks at it."""
        self.events.clear()
        self.ask("Page.navigate", url=path.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.take()
        found = self.ask("Runtime.evaluate", expression=LOOK, awaitPromise=True, returnByValue=True)["result"]["value"]
        return Seen(**found, errors=[text for event in self.events for text in errors(event)])

    def ask(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if not method.startswith("Target."):
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while (answer := self.take()).get("id") != self.number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def take(self):
        """The next message; events are kept."""
        while b"\0" not in self.rest:
            chunk = self.answers.read(1 << 16)
            if not chunk:
                raise RuntimeError(f"{CHROMIUM} ended")
            self.rest += chunk
        message, self.rest = self.rest.split(b"\0", 1)
        message = json.loads(message)
        if "method" in message:
            self.events.append(message)
        return message


def errors(event):
    """What the event says if it is an error: an exception, console.error, or the browser's own, such as a lost file."""
    about = event["params"]
    if event["method"] == "Runtime.exceptionThrown":
        details = about["exceptionDetails"]
        yield details.get("exception", {}).get("description") or details["text"]
    if event["method"] == "Runtime.consoleAPICalled" and about["type"] in ("error", "assert"):
        yield " ".join(str(part.get("value", part.get("description"))) for part in about["args"])
    if event["method"] == "Log.entryAdded" and about["entry"]["level"] == "error":
        yield f"{about['entry']['text']} {about['entry'].get('url', '')}"
