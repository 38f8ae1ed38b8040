"""The picture in docs/: one run, drawn from what the simulated ICA tells of its jobs."""

from __future__ import annotations

from local.bench.deployed import CopyRun

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="11">'
)
COLOURS = {"SUCCEEDED": "#2a9d5c", "PARTIALLY_SUCCEEDED": "#e0a030", "FAILED": "#c8443c", "STOPPED": "#7a4fa0"}
LEFT, WIDTH, ROW, TOP = 8, 760, 9, 34


def timeline(run: CopyRun) -> str:
    """A run as an SVG: a line for each folder, thin while it waits, with a bar for each of its ICA jobs."""
    scale = WIDTH / run.seconds
    chains = sorted(run.attempts.values(), key=lambda chain: (chain[-1].ended, chain[0].began))
    bottom = TOP + ROW * len(chains)
    height = bottom + 30
    lines = [
        SVG.format(width=LEFT * 2 + WIDTH, height=height),
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    x = LEFT
    for outcome, colour in COLOURS.items():
        words = outcome.replace("_", " ").lower()
        lines.append(f'<rect x="{x}" y="8" width="10" height="10" fill="{colour}"/>')
        lines.append(f'<text x="{x + 14}" y="17">{words}</text>')
        x += 40 + 6 * len(words)
    lines.append(f'<text x="{x}" y="17">thin: waiting</text>')
    for row, chain in enumerate(chains):
        y = TOP + ROW * row
        lines.append(_bar(0.0, chain[-1].ended, y + 3, 1, "#999", scale))
        lines.extend(_bar(each.began, each.ended, y, ROW - 2, COLOURS[each.outcome], scale) for each in chain)
    for seconds in range(0, int(run.seconds) + 1, 5):
        at = LEFT + seconds * scale
        lines.append(f'<path d="M{at:.1f} {TOP - 4}V{bottom}" stroke="#000" opacity=".12"/>')
        lines.append(f'<text x="{at:.1f}" y="{bottom + 12}" text-anchor="middle" font-size="9">{seconds} s</text>')
    settled = f"settled {run.seconds:.1f} s after the upload, bound {run.bound:.1f} s"
    words = f"{len(chains)} jobs, {run.launches} attempts; {settled}"
    lines.append(f'<text x="{LEFT + WIDTH}" y="{height - 3}" text-anchor="end">{words}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _bar(began: float, ended: float, y: float, thickness: float, colour: str, scale: float) -> str:
    x, width = LEFT + began * scale, (ended - began) * scale
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{thickness}" fill="{colour}"/>'
