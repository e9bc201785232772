"""Remake the pictures of README and docs from a finished demo.

Usage:  kedro run --env demo && python docs/make_pictures.py [--browser chromium]

Predicts the demo's test studies, which are phantoms, opens the page in a headless browser with the
overlay switched on, and stores the first study as ``docs/img/viewer.png``. Chromium or Chrome must
be installed.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from PIL import Image, ImageChops

ROOT: Final = Path(__file__).resolve().parents[1]
SIZE_PX: Final = (1120, 1400)
"""Size of the browser's window; the picture is cut to what is shown."""

_SHOWN: Final = """
<style>body .page > *:not(.viewer.chosen), .viewer .run { display: none } body { margin: 0 }</style>
<script>
const chosen = document.querySelector(".viewer");
chosen.classList.add("chosen");
const overlay = chosen.querySelector(".overlay");
overlay.checked = true;
overlay.dispatchEvent(new Event("change"));
</script>
"""


def predict() -> Path:
    """Predict the test studies of the demo; return the page."""
    source = ROOT / "data" / "01_raw" / "stage_2_test"
    command = [sys.executable, "-m", "kedro", "run", "--env", "demo", "--pipelines", "new_study"]
    subprocess.run([*command, "--params", f"source={source},output=picture"], cwd=ROOT, check=True)
    return ROOT / "data" / "08_reporting" / "new_study" / "picture" / "report.html"


def screenshot(page: Path, target: Path, browser: str) -> None:
    """Store a picture of the first study of a page, without margins."""
    with tempfile.TemporaryDirectory() as folder:
        shown, picture = Path(folder) / "page.html", Path(folder) / "page.png"
        shown.write_text(page.read_text().replace("</body>", f"{_SHOWN}</body>"))
        subprocess.run(
            [
                *(browser, "--headless", "--no-sandbox", "--hide-scrollbars"),
                *(f"--window-size={SIZE_PX[0]},{SIZE_PX[1]}", f"--screenshot={picture}"),
                shown.as_uri(),
            ],
            check=True,
            capture_output=True,
        )
        image = Image.open(picture).convert("RGB")
    white = Image.new("RGB", image.size, "white")
    box = ImageChops.difference(image, white).getbbox()
    target.parent.mkdir(parents=True, exist_ok=True)
    image.crop(box).save(target, optimize=True)
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1e3:.0f} kB")  # noqa: T201


def main() -> None:
    """Remake every picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--browser", default="chromium", help="Name or path of the browser.")
    options = parser.parse_args()
    screenshot(predict(), ROOT / "docs" / "img" / "viewer.png", options.browser)


if __name__ == "__main__":
    main()
