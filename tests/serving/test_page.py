"""The page at `/`: what it is made of, and how it works in a browser."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sklearn.datasets import load_digits

from cifar.images.io import encode_png
from cifar.runtime.paths import ROOT
from cifar.serving.page import FILES, TYPES
from helpers.serving import BODY, Service

FAILED = "Failed to load resource"
"""What Chromium itself writes to the console for an answer of 400 or more."""


@pytest.fixture(scope="module")
def service(quickstart) -> Iterator[Service]:
    models = (f"digits={quickstart.id}", f"other={quickstart.id}")
    service = Service(quickstart.uri, *models, "--max-body", str(BODY))
    yield service
    service.end()


@pytest.fixture(scope="module")
def digit() -> bytes:
    return encode_png((load_digits().images[0] * 255 / 16).astype(np.uint8)[..., None])


class TestFiles:
    @pytest.mark.parametrize(("path", "name"), FILES.items())
    def test_typed_checked_and_kept(self, service, path, name):
        answer = service.ask("GET", path)
        assert (answer.code, answer.content) == (200, (ROOT / "cifar/serving/page" / name).read_text())
        assert answer.headers["content-type"].partition(";")[0] == TYPES["." + name.partition(".")[2]]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-cache"
        assert service.ask("GET", path, if_none_match=answer.headers["etag"]).code == 304
        assert service.ask("GET", path, if_none_match='"another"').code == 200

    def test_load_nothing_from_elsewhere(self):
        for name in FILES.values():
            content = (ROOT / "cifar/serving/page" / name).read_text()
            assert set(re.findall(r"\w+://[\w.]+", content)) <= {"http://www.w3.org"}, "but the name of SVG"
            assert not re.search(r"<style|\sstyle=|<script>|\son\w+=|@import", content)


class TestAnswers:
    def test_examples_are_test_images_of_the_run(self, service):
        files = service.ask("GET", "/examples?model=other").content["examples"]
        found = np.stack([np.asarray(Image.open(io.BytesIO(base64.b64decode(file["b64"])))) for file in files])
        known = np.round(load_digits().images * 255 / 16).astype(np.uint8)
        assert found.shape == (4, 8, 8)
        assert all((known == image).all(axis=(1, 2)).any() for image in found)
        assert service.ask("GET", "/examples?model=none").code == 404

    def test_explained(self, service, digit):
        best = service.upload(digit).content["answer"][0]["class"]
        answer = service.ask("POST", "/explain", digit, content_type="image/png").content
        assert (answer["model"], answer["class"]) == ("digits", best)
        heat = np.array(answer["heat"])
        assert heat.shape == (4, 4)
        assert (heat.min() >= 0) & (heat.max() in (0, 1))
        with Image.open(io.BytesIO(base64.b64decode(answer["picture"]["b64"]))) as picture:
            assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (384, 384))

        other = service.ask("POST", "/explain?model=other&class=7", digit, content_type="image/png").content
        assert (other["model"], other["class"]) == ("other", "7")
        refused = service.ask("POST", "/explain?class=77", digit, content_type="image/png")
        assert (refused.code, refused.content["error"][:18]) == (404, "class 77: unknown;")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not (chromium := shutil.which("chromium")):
        pytest.skip("Chromium is not on the PATH")
    with sync_playwright() as playwright:
        root = ["--no-sandbox"] if os.getuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium, args=root)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, service) -> Iterator[Callable[..., Page]]:
    """open_page(**context): the page, whose console and requests are looked at in the end."""
    messages, requested, contexts = [], [], []

    def opened(**context) -> Page:
        contexts.append(browser.new_context(**context))
        page = contexts[-1].new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: requested.append(request.url))
        page.goto(f"http://127.0.0.1:{service.port}/")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not [text for text in messages if not text.startswith(FAILED)]
    assert {url.partition(":")[0] for url in requested} <= {"http", "data", "blob"}
    assert {url.split("/")[2] for url in requested if url.startswith("http")} == {f"127.0.0.1:{service.port}"}


@pytest.fixture
def page(open_page) -> Page:
    page = open_page(viewport={"width": 1280, "height": 800})
    expect(page.locator("#examples button")).to_have_count(4)
    return page


def upload(page: Page, content: bytes, name: str = "image.png") -> None:
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": content})


def answer_with(page: Page, pattern: str, content: dict[str, Any]) -> None:
    page.route(pattern, lambda route: route.fulfill(json=content))


def best(page: Page) -> str:
    expect(page.locator("#classes li")).to_have_count(5)
    return page.locator("#said b").inner_text()


def test_image_is_answered(page, service, digit):
    upload(page, digit)
    answer = service.upload(digit).content["answer"]
    assert best(page) == answer[0]["class"]
    assert page.locator("#classes .name").all_inner_texts() == [entry["class"] for entry in answer]
    shares = [float(text.strip("< %")) for text in page.locator("#classes .value").all_inner_texts()]
    np.testing.assert_allclose(shares, [100 * entry["probability"] for entry in answer], atol=0.1)
    widths = page.locator("#classes .bar i").evaluate_all("bars => bars.map(bar => parseFloat(bar.style.width))")
    np.testing.assert_allclose(widths, [100 * entry["probability"] for entry in answer], atol=0.01)
    expect(page.get_by_role("status")).to_contain_text(re.compile(r"confidence · answered in \d+ ms"))
    assert page.locator("#photo").evaluate("image => getComputedStyle(image).imageRendering") == "pixelated"


def test_why(page, service, digit):
    upload(page, digit)
    name = best(page)
    page.get_by_text("Why", exact=True).click()
    expect(page.get_by_role("button", pressed=True)).to_contain_text(name)
    picture = page.locator("#picture")
    expect(picture).to_have_attribute("alt", f"Heat map of {name}")
    page.locator("#classes button").nth(1).click()
    other = page.locator("#classes .name").nth(1).inner_text()
    expect(picture).to_have_attribute("alt", f"Heat map of {other}")
    expect(page.locator("#caption")).to_contain_text(re.compile(f"(Evidence for|supports) {other}"))
    answer = service.ask("POST", f"/explain?class={other}", digit, content_type="image/png").content
    assert picture.get_attribute("src") == f"data:image/png;base64,{answer['picture']['b64']}"
    page.locator("fieldset").get_by_text("Image").click()
    expect(picture).to_be_hidden()


def test_pasted_dropped_and_example(page, digit):
    given = """(target, [kind, content]) => {
        const data = new DataTransfer();
        const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
        data.items.add(new File([bytes], "image.png", {type: "image/png"}));
        const event = kind === "paste" ? new ClipboardEvent(kind, {clipboardData: data, bubbles: true})
            : new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true});
        target.dispatchEvent(event);
    }"""
    for kind in ("paste", "drop"):
        page.reload()
        expect(page.locator("#examples button")).to_have_count(4)
        page.locator("body").evaluate(given, [kind, base64.b64encode(digit).decode()])
        best(page)
        assert page.locator("#photo").evaluate("image => image.naturalWidth") == 8
    page.set_input_files("#file", [{"name": "a.png", "mimeType": "image/png", "buffer": digit}])
    expect(page.get_by_role("status")).not_to_contain_text("images")
    page.locator("#file").evaluate("input => input.multiple = true")
    page.set_input_files("#file", [{"name": name, "mimeType": "image/png", "buffer": digit} for name in "abc"])
    expect(page.get_by_role("status")).to_contain_text("the first of 3 images")
    page.reload()
    page.get_by_role("button", name="Test image 2").click()
    best(page)


def test_by_keyboard_alone(page):
    page.keyboard.press("Tab")
    expect(page.get_by_label("Model")).to_be_focused()
    with page.expect_response(re.compile("examples.*other")) as examples:
        page.keyboard.press("ArrowDown")
    examples.value.finished()
    page.evaluate("() => new Promise(drawn => setTimeout(drawn, 100))")  # a button that is replaced loses the focus
    page.keyboard.press("Tab")
    expect(page.locator("#file")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Test image 1")).to_be_focused()
    with page.expect_request(re.compile("predict")) as asked:
        page.keyboard.press("Enter")
    assert asked.value.url.endswith("model=other")
    best(page)
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    expect(page.locator("#classes button").last).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#classes button").last).to_have_attribute("aria-pressed", "true")


def test_files_that_are_refused(page, digit):
    noise = encode_png(np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8))
    assert len(noise) > BODY
    alert = page.get_by_role("alert")
    for content, message in (
        (digit[:60], "This file cannot be read"), (b"hello", "This is not an image that the browser shows"),
        (noise, "This image is too large"),
    ):  # fmt: skip
        upload(page, digit)
        best(page)
        expect(alert).to_be_empty()
        upload(page, content)
        expect(alert).to_contain_text(message)
        expect(page.locator("#classes li")).to_have_count(0)
        expect(alert.get_by_role("button")).to_have_count(0)
    upload(page, digit)
    best(page)


def test_service_that_is_away_or_busy(page, digit):
    answers = [
        lambda route: route.abort("connectionrefused"),
        lambda route: route.fulfill(status=503, json={"error": "too many waiting images"}),
        lambda route: route.continue_(),
    ]
    page.route("**/predict*", lambda route: answers.pop(0)(route))
    upload(page, digit)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The service does not answer")
    alert.get_by_role("button", name="Try again").click()
    expect(alert).to_contain_text(re.compile("The service is busy *Too many waiting images"))
    alert.get_by_role("button", name="Try again").click()
    best(page)
    expect(alert).to_be_empty()


def test_answer_of_an_image_that_was_replaced_is_not_shown(page, service, digit):
    late = []
    page.route("**/predict*", lambda route: late.append(route) if not late else route.continue_())
    upload(page, digit)
    page.get_by_role("button", name="Test image 2").click()
    shown = best(page)
    late[0].fulfill(json={"answer": [{"class": "late", "probability": 1.0}]})
    page.wait_for_timeout(200)
    assert best(page) == shown
    expect(page.get_by_role("alert")).to_be_empty()


def test_token_is_asked_for(open_page, digit):
    page = open_page()
    secret = {"authorization": "Bearer secret"}
    page.route(
        re.compile("/(v1|examples|predict)"),
        lambda route: route.continue_() if secret.items() <= route.request.headers.items()
        else route.fulfill(status=401, json={"error": "a bearer token is required"}),
    )  # fmt: skip
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("A token is required")
    page.get_by_label("Token").fill("secret")
    page.keyboard.press("Enter")
    expect(page.locator("#examples button")).to_have_count(4)
    expect(page.get_by_label("Token")).to_be_hidden()
    upload(page, digit)
    best(page)


def test_tokens_that_are_not_valid(open_page):
    page = open_page()
    refused = {"status": 401, "json": {"error": "the bearer token is not valid"}}
    page.route(re.compile("/(v1|examples|predict)"), lambda route: route.fulfill(**refused))
    page.reload()
    for wrong in ("π", "two words", "wrong"):
        expect(page.get_by_role("alert")).to_contain_text("token")
        page.get_by_label("Token").fill(wrong)
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("This token is not valid")
        assert page.evaluate("sessionStorage.getItem('token')") is None


def test_image_before_the_token_is_answered_after_it(open_page, digit):
    page = open_page()
    page.route(
        re.compile("/(v1|examples|predict)"),
        lambda route: route.continue_() if "authorization" in route.request.headers
        else route.fulfill(status=401, json={"error": "a bearer token is required"}),
    )  # fmt: skip
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("A token is required")
    upload(page, digit)
    expect(page.locator("#photo")).to_be_visible()
    page.get_by_label("Token").fill("secret")
    page.keyboard.press("Enter")
    best(page)


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "transparent", "large"])
def test_what_the_browser_shows_is_sent_as_it_is_shown(page, kind):
    """Another format, white where it is transparent, and smaller if it is large."""
    image = Image.new("RGBA", (40, 20), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (20, 0, 40, 20))
    if kind == "large":
        image = Image.new("RGB", (4000, 2000), "red")
    file = io.BytesIO()
    image.save(file, kind if kind in ("WEBP", "GIF") else "PNG", **({"lossless": True} if kind == "WEBP" else {}))
    upload(page, file.getvalue())
    best(page)
    width, height, left, right = page.locator("#photo").evaluate("""photo => {
        const {naturalWidth: width, naturalHeight: height} = photo;
        const canvas = Object.assign(document.createElement("canvas"), {width, height});
        const context = canvas.getContext("2d", {willReadFrequently: true});
        context.drawImage(photo, 0, 0);
        const color = x => [...context.getImageData(x, 2, 1, 1).data];
        return [width, height, color(2), color(width - 3)];
    }""")
    assert (width, height) == ((2896, 1448) if kind == "large" else (40, 20))
    np.testing.assert_allclose(left, (255, 0, 0, 255), atol=3)
    np.testing.assert_allclose(right, (255, 0, 0, 255) if kind == "large" else (255, 255, 255, 255), atol=3)


def test_places_are_drawn(open_page, digit):
    """The answer of a detector, as its task decodes it."""
    page = open_page()
    found = {"class": "cat", "score": 0.75, "box": [1, 2, 3, 4]}
    drawn = base64.b64encode(encode_png(np.zeros((8, 16, 3), np.uint8))).decode()
    model = {"name": "scenes", "run": "a" * 32, "task": "detection", "class_names": ["cat", "dog"],
             "image_shape": [64, 64, 3], "main_metric": "map",
             "metrics": {"test/map": 0.5, "test/accuracy": 0.9}}  # fmt: skip
    for pattern, content in (
        ("**/v1/models", {"models": [model]}), ("**/examples*", {"examples": []}),
        ("**/predict*", {"answer": [found, found]}), ("**/explain*", {"picture": {"b64": drawn}}),
    ):  # fmt: skip
        answer_with(page, pattern, content)
    page.reload()
    expect(page.locator("#about")).to_contain_text("scenes · 2 classes · 50.0% mAP in test")
    upload(page, digit)
    expect(page.get_by_role("status")).to_contain_text(re.compile("^cat *scores · answered"))
    assert page.locator("#classes .value").all_inner_texts() == ["75.0%", "75.0%"]
    expect(page.get_by_role("img", name="Predictions drawn on the image")).to_be_visible()
    expect(page.locator("#classes button")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(390, 844), (1280, 800)], ids=["phone", "desktop"])
def test_accessible_at_every_size(open_page, digit, size, scheme):
    page = open_page(viewport=dict(zip(("width", "height"), size, strict=True)), color_scheme=scheme,
                     reduced_motion="reduce", has_touch=size[0] < 500)  # fmt: skip
    expect(page.locator("#examples button")).to_have_count(4)

    def check() -> None:
        report = Axe().run(page)
        assert not report.violations_count, report.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it is wider than the window"

    check()
    upload(page, digit)
    best(page)
    page.get_by_text("Why", exact=True).click()
    expect(page.locator("#picture")).to_be_visible()
    assert page.locator(".bar i").first.evaluate("bar => getComputedStyle(bar).animationName") == "none"
    check()
    upload(page, b"broken")
    expect(page.get_by_role("alert")).not_to_be_empty()
    check()
