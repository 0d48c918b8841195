"""Answers of the API as markup, forms and files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dropforge.ingest import rejected_rows
from dropforge_ui import batch, cells, form, words
from dropforge_ui.client import ApiError
from dropforge_ui.markup import Markup, join, tag
from dropforge_ui.pages.data import markup
from dropforge_ui.pages.models import markup as models
from dropforge_ui.pages.monitoring import live
from dropforge_ui.pages.monitoring import markup as monitoring
from dropforge_ui.pages.predict import markup as predict

from ...conftest import repeats

EVIL = "<script>alert(1)</script>"
INFO: Any = {
    "model": {"name": EVIL, "version": "1", "alias": EVIL},
    "target": EVIL,
    "set_by": EVIL,
    "positive_class": EVIL,
    "features": [
        {"name": "age", "kind": "integer", "minimum": 17.0, "maximum": 90.0},
        {"name": "job", "kind": "category", "categories": ["a", "b"]},
        {"name": "note", "kind": "text"},
    ],
}


def test_a_training_shows_the_budget_that_is_further_used_up() -> None:
    """Half of the seconds at a tenth of the trials is half of the bar; a waiting model tells its budget, an ended upload nothing."""
    tuning = {
        "model": "xgboost", "stage": "tuning", "trials": 2, "trials_budget": 20, "seconds": 30.4, "seconds_budget": 60.0,
        "metric": "roc_auc", "best_score": 0.91234,
    }  # fmt: skip
    waiting = {"model": "random_forest", "stage": "waiting", "trials_budget": 10, "seconds_budget": 45.0}
    upload: Any = {"upload_id": "1", "key": "k", "state": "training", "progress": [tuning, waiting]}
    drawn = str(markup.training(upload))
    assert "best ROC AUC 0.9123, 2 of 20 trials, 30 of 60 s" in drawn
    error: Any = {**upload, "progress": [{**tuning, "metric": "rmse", "best_score": -48_972.3618}]}
    assert "best root mean squared error 48,972, 2 of 20 trials" in markup.training(error)
    assert "width:50.67%" in drawn
    assert 'aria-valuenow="51"' in drawn
    assert "up to 10 trials in 45 s" in drawn
    assert markup.training({**upload, "state": "concluded"}) is None


def test_a_candidate_stands_out_and_its_trial_is_told() -> None:
    """A fraction of a percent is not rounded away; the leaderboard marks the version that is tried."""
    candidate: Any = {"name": "xgboost", "version": "2", "weight": 0.005, "shadow": True}
    output = models.tried(candidate)
    assert output == "xgboost version 2 answers 0.5% of the requests and is scored in the shadow"
    assert models.tried(None) == ""
    info: Any = {"model": {"name": "xgboost", "version": "1"}, "candidate": candidate}
    at = models.stand(info, "xgboost/2")
    assert at == models.At(active="xgboost/1", beside="xgboost/2", chosen="xgboost/2")
    versions: Any = [{"name": "xgboost", "version": v} for v in "12"]
    assert str(models.leaderboard(versions, at)).count(">tried<") == 1


def test_the_leaderboard_has_its_intervals_from_the_list_of_versions() -> None:
    """No model card is read for it; a version that states no interval shows its score alone, and the best is first."""
    versions: Any = [
        {"name": "forest", "version": "1", "heldout": {"roc_auc": 0.81}},
        {
            "name": "boost",
            "version": "1",
            "heldout": {"roc_auc": 0.92},
            "interval": {"roc_auc": [0.92, 0.9111, 0.9289]},
        },
    ]
    page = str(models.leaderboard(versions, models.At()))
    assert "0.9111 to 0.9289" in page
    assert page.count(" to 0.") == 1
    assert page.index("boost") < page.index("forest")


def test_scores_of_few_held_out_rows_carry_their_warning() -> None:
    """The leaderboard says it below the table, once for all versions that it is about; without a warning it says nothing."""
    few = "only 11 held-out rows"
    versions: Any = [{"name": "xgboost", "version": v, "warning": few if v in "12" else ""} for v in "123"]
    page = str(models.leaderboard(versions, models.At()))
    assert "xgboost version 1, xgboost version 2: only 11 held-out rows" in page
    assert page.count("df-note") == 1
    assert "df-note" not in str(models.leaderboard(versions[2:], models.At()))


def test_everything_foreign_is_escaped() -> None:
    """Names, labels, reasons and cells of a hostile table become text, in every view."""
    answer: Any = {
        "predictions": [
            {
                "label": EVIL,
                "probabilities": {EVIL: 1.0},
                "prediction_set": {"coverage": 0.9, "labels": [EVIL]},
                "explanation": {"class": EVIL, "space": EVIL, "contributions": {EVIL: 0.5}},
            }
        ],
        "model": INFO["model"],
        "threshold": 0.5,
        "warnings": [{"field": EVIL, "message": EVIL}],
    }
    upload: Any = {
        "upload_id": "1", "key": f"incoming/{EVIL}", "state": EVIL, "verdict": EVIL, "rows_in": 1, "rows_used": 1,
        "rows_quarantined": 1, "history": [{"state": EVIL, "at": "2026-01-01T00:00:00+00:00"}],
        "reason": {"code": EVIL, "message": EVIL, "fix": EVIL}, "models": [{"name": EVIL, "metrics": {EVIL: 0.5}}],
        "progress": [{"model": EVIL, "stage": EVIL, "metric": EVIL, "best_score": 0.5}],
        "run_url": 'javascript:alert(1)"', "received_at": EVIL,
    }  # fmt: skip
    rows: Any = [{"line": 2, "column": EVIL, "code": "c", "reason": EVIL, "raw": f'{EVIL},"{EVIL}",x,y'}]
    quarantined: Any = {"header": [EVIL, "b"], "delimiter": ",", "rows_quarantined": 1, "rows": rows}
    page = join(
        predict.model_line(INFO),
        predict.result(answer, INFO, 1.0),
        predict.contributions(answer["predictions"][0], {EVIL: EVIL}),
        predict.what_if(EVIL, [EVIL, "b"], [0.1, 0.2], EVIL, EVIL, 0.5),
        predict.batch_done(1, {EVIL: 1}, 1, 1.0),
        predict.no_model(),
        markup.listing([upload], ""),
        markup.detail(upload),
        markup.quarantine(quarantined),
        markup.report(EVIL, "javascript:alert(1)"),
        markup.expected(EVIL),
        *_of_models(),
        *_of_monitoring(),
    )
    assert "<script" not in page
    assert "javascript:alert" not in page.replace("&quot;", "")
    assert page.count("&lt;script&gt;") > 20


def _of_models() -> list[str]:
    version: Any = {"name": EVIL, "version": EVIL, "aliases": [EVIL], "heldout": {EVIL: 0.5}, "dataset_id": EVIL}
    entry: Any = {"number": 2, "at": EVIL, "by": EVIL, "action": EVIL, "reason": EVIL, "from": version, "to": version}
    stored: Any = {"entries": [entry], "active": 1, "verified": {"ok": False, "problems": [EVIL]}}
    document = {"metrics": {EVIL: 0.5}, "intervals": {EVIL: [0.4, 0.6]}}
    return [
        models.leaderboard([{**version, "warning": EVIL}], models.At()),
        models.chosen(version),
        models.active({"model": version, "candidate": {**version, "weight": 0.1, "shadow": True}}, stored),
        models.ledger(stored),
        models.comparison(document, document),
        models.model_card(EVIL, EVIL),
        models.question(EVIL),
    ]


def _of_monitoring() -> list[str]:
    upload: Any = {"upload_id": "1", "key": EVIL, "verdict": EVIL, "received_at": EVIL}
    route = {"route": EVIL, "requests": 1, "refused": 1, "failed": 1, "median_ms": 1.0, "p95_ms": 2.0}
    matches: Any = {
        "traffic": [{"at": EVIL, "requests": 1, "refused": 0, "failed": 0}],
        "routes": [route],
        "problems": [{"at": EVIL, "part": EVIL, "what": EVIL, "code": EVIL, "message": EVIL, "id": EVIL}],
    }
    report = {"columns": [{"name": EVIL, "effect_corrected": 0.3, "outcome": "drift"}]}
    health: Any = {"status": EVIL, "parts": {EVIL: {"error": EVIL, "message": EVIL, "fix": EVIL}, "x": {EVIL: EVIL}}}
    window: Any = {
        "day": EVIL, "model": {"name": EVIL, "version": EVIL}, "verdict": {"word": EVIL}, "heldout": {},
        "features": [{"name": EVIL, "outcome": "drift"}], "findings": [{"severity": "warn", "title": EVIL, "evidence": EVIL}],
    }  # fmt: skip
    return [
        live.traffic({"windows": [window], "checked_at": EVIL}),
        live.traffic({"windows": [{**window, "problem": EVIL}]}),
        monitoring.health(health),
        monitoring.traffic(matches),
        monitoring.problems(matches),
        monitoring.drift([upload], {"1": report}),
    ]


@pytest.mark.parametrize(
    ("milliseconds", "latency_text"), [(0.4, "0.4 ms"), (136.2, "136 ms"), (1430.0, "1.4 s"), (16_915, "17 s")]
)
def test_a_long_latency_is_told_in_seconds(milliseconds: float, latency_text: str) -> None:
    """Milliseconds up to a second."""
    route: Any = {"route": "GET /health", "requests": 1, "refused": 0, "failed": 0, "p95_ms": milliseconds}
    matches: Any = {
        "traffic": [{"at": "", "requests": 1, "refused": 0, "failed": 0}],
        "routes": [{**route, "median_ms": None}],
    }
    assert f">{latency_text}<" in monitoring.traffic(matches)


def test_an_upload_of_few_rows_shows_no_drift() -> None:
    """An effect of rows too few to tell is chance: it is neither drawn nor the largest, and the table says why."""
    uploads: Any = [
        {"upload_id": i, "key": f"incoming/{n}.csv", "verdict": "pass"} for i, n in (("1", "one"), ("2", "all"))
    ]
    few = {"columns": [{"name": "age", "effect_corrected": 1.07, "outcome": "insufficient_data"}]}
    many = {"columns": [{"name": "age", "effect_corrected": 0.02, "outcome": "no_drift"}]}
    page = monitoring.drift(uploads, {"1": few, "2": many})
    assert "1.07" not in page
    assert "age 0.020" in page
    assert "insufficient data" in page


@given(st.text(), st.text())
def test_a_tag_escapes_text_and_attributes(text: str, value: str) -> None:
    """Whatever the text, the markup has the tag's own angle brackets and quotes and no others."""
    created = tag("p", text, title=value)
    assert created.count("<") == 2
    assert created.count('"') == 2


def test_markup_is_not_escaped_twice() -> None:
    """What is markup already goes in as it is; None is nothing."""
    assert tag("p", tag("b", "a&b"), None, [Markup("<i></i>"), 3]) == "<p><b>a&amp;b</b><i></i>3</p>"


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\r\n\x00", exclude_categories=["Cs"])), min_size=2))
def test_a_row_survives_its_fields(fields: list[str]) -> None:
    """together and split are inverse for every row of one line."""
    assert cells.split(cells.together(fields, ";"), ";") == fields


def test_a_row_with_broken_quotes_is_cut_at_every_delimiter() -> None:
    """It can be seen and mended, nothing is lost."""
    assert cells.split('1,"two,3', ",") == ["1", '"two', "3"]


def test_a_form_value_reaches_the_api_as_its_kind() -> None:
    """Whole numbers are integers, empty and `unknown` are null, a typed category stays."""
    features = INFO["features"]
    assert form.record(features, [39.0, "c", ""]) == {"age": 39, "job": "c", "note": None}
    assert form.record(features, [None, form.UNKNOWN, "x"]) == {"age": None, "job": None, "note": "x"}


def test_a_what_if_covers_the_training_range_and_the_present_value() -> None:
    """Whole numbers for an integer; every category, and an unseen one that is in the form; nothing for free text."""
    age, job, note = INFO["features"]
    swept = form.sweep(age, 95)
    assert (swept[0], swept[-1]) == (17, 95)
    assert all(float(v).is_integer() for v in swept)
    assert 33 in form.sweep(age, 33)
    assert form.sweep(job, "z") == ["z", "a", "b"]
    assert form.variable(INFO["features"]) == ["age", "job"]
    assert form.sweep(note, "x") == []


def test_the_way_names_what_goes_on_and_what_is_to_come() -> None:
    """A running upload shows its present step as current and the later ones without a time."""
    history = [
        {"state": "received", "at": "2026-01-01T00:00:00+00:00"},
        {"state": "analysed", "at": "2026-01-01T00:00:02+00:00"},
        {"state": "training", "at": "2026-01-01T00:00:03+00:00"},
    ]
    running = markup.way({"history": history, "state": "training"})
    assert running.count("<li") == 4
    assert 'aria-current="step"><b>training' in running
    assert "2.0 s" in running
    ended = markup.way(
        {"history": [*history, {"state": "failed", "at": "2026-01-01T00:02:05+00:00"}], "state": "failed"}
    )
    assert 'class="bad"><b>failed</b><small>after 2 min 05 s' in ended


def test_a_row_of_the_wrong_width_shows_what_is_too_much() -> None:
    """Surplus fields stand apart and can be emptied; absent ones are empty fields."""
    matches: Any = {"header": ["a", "b"], "delimiter": ",", "rows_quarantined": 2}
    wide = markup.quarantine(
        {**matches, "rows": [{"line": 3, "column": "", "code": "", "reason": "r", "raw": "1,2,3"}]}
    )
    assert wide.count("data-surplus") == 1
    narrow = markup.quarantine({**matches, "rows": [{"line": 4, "column": "", "code": "", "reason": "r", "raw": "1"}]})
    assert narrow.count("<input") == 2


class _Echo:
    """Answers like the API: the label is the row's own `y`."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def predict(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        self.sizes.append(len(records))
        if any(r["x"] == "bad" for r in records):
            raise ApiError("invalid_value", "record 1: x: 'bad' is not a number", "send a number")
        messages = [{"label": r["y"], "probabilities": {"p": 0.25, "q": 0.75}} for r in records]
        return {"predictions": messages, "warnings": [{"row": 0, "rows": 1}]}


def test_a_file_is_predicted_in_pieces_and_keeps_its_columns(tmp_path: Path) -> None:
    """1,200 semicolon rows: three requests, every row once and in order, all columns and the probabilities."""
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("x;y\n" + "".join(f"{i};{'p' if i % 3 else 'q'}\n" for i in range(1200)), encoding="utf-8-sig")
    api, seen = _Echo(), []
    done = batch.predict_file(api, source, target, seen.append)  # type: ignore[arg-type]
    assert api.sizes == [500, 500, 200]
    assert seen == [500, 1000, 1200]
    with target.open(newline="") as created:
        rows = list(csv.DictReader(created))
    assert [r["x"] for r in rows] == [str(i) for i in range(1200)]
    assert all(r["prediction"] == r["y"] and r["probability_q"] == "0.750000" for r in rows)
    assert (done.rows, done.labels["q"], done.warned) == (1200, 400, 3)


@pytest.mark.parametrize("escape", [True, False])
def test_a_predicted_file_runs_nothing_in_a_spreadsheet(tmp_path: Path, escape: bool) -> None:
    """Cells, names of columns and labels that would be formulas get an apostrophe, numbers none; all stay as they are when asked."""
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("x,=a,y\n-5,=1+1,@b\n+1e3,'=2,q\n")
    batch.predict_file(_Echo(), source, target, lambda _n: None, escape=escape)  # type: ignore[arg-type]
    with target.open(newline="") as created:
        head, *rows = list(csv.reader(created))
    messages = [r[:4] for r in rows]
    if escape:
        assert head[:3] == ["x", "'=a", "y"]
        assert messages == [["-5", "'=1+1", "'@b", "'@b"], ["+1e3", "''=2", "q", "q"]]
    else:
        assert head[:3] == ["x", "=a", "y"]
        assert messages == [["-5", "=1+1", "@b", "@b"], ["+1e3", "'=2", "q", "q"]]


@pytest.mark.repeated
@settings(max_examples=repeats(50, 500), deadline=None)
@given(st.text(alphabet="=+-@\t\r\n＝＋－＠'.0123456789eE, aß", max_size=8))
def test_the_web_app_escapes_as_the_core_does(text: str) -> None:
    """Both have the rule in their own words, for the web app imports nothing of the core."""
    assert cells.harmless(text) == rejected_rows.harmless(text)


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        ("x,y\n1,p\nbad,p\n", "invalid_value", "line 2"),
        ("x,y\n1\n", "malformed_csv", "Line 2"),
        ("x,y\n1,2,3\n", "malformed_csv", "Line 2"),
        ("x,y\n", "no_rows", "no rows"),
        ("", "no_rows", "no rows"),
    ],
)
def test_a_file_that_cannot_be_predicted_says_where(tmp_path: Path, text: str, code: str, place: str) -> None:
    """The API's mistake with the lines it speaks of; a bad file with its own."""
    source = tmp_path / "in.csv"
    source.write_text(text)
    with pytest.raises(ApiError) as caught:
        batch.predict_file(_Echo(), source, tmp_path / "out.csv", lambda _n: None)  # type: ignore[arg-type]
    assert caught.value.code == code
    assert place in caught.value.message


def test_live_traffic_is_told_as_the_api_tells_it() -> None:
    """The contract's example: its day, what drifted, scores beside the held-out ones, the finding; and how to begin."""
    golden = Path(__file__).parents[2] / "contracts" / "golden" / "Monitoring.json"
    page = str(live.traffic(json.loads(golden.read_text())))
    for output in (
        "2026-03-05",
        "demo-forest version 1",
        ">age<",
        "0.960<small>0.800",
        "1.000<small>0.900",
        "mean 44.71",
    ):
        assert output in page, output
    assert "leaves the reference" not in page  # only what asks for attention
    assert "1 label of rows that were not captured" in page
    assert "serving.capture.sample" in str(live.traffic({"windows": [], "checked_at": None}))


def test_times_are_told_as_people_say_them() -> None:
    """Seconds, minutes, hours, then the date; no time stays as it is."""
    now = words.moment("2026-03-04T12:00:00+00:00")
    messages = [
        words.ago(t, now) for t in ("2026-03-04T11:59:20+00:00", "2026-03-04T11:20:00+00:00", "2026-03-04T02:00:00Z")
    ]
    assert [t.replace("\N{NO-BREAK SPACE}", " ") for t in messages] == ["40 s ago", "40 min ago", "10 h ago"]
    assert words.ago("2026-01-04T12:00:00+00:00", now) == "04 Jan 2026"
    assert words.ago("x") == "x"


def test_a_comparison_calls_none_better_within_the_intervals() -> None:
    """Lower log loss wins when the intervals are apart; overlapping ones decide nothing; what is not served is not shown."""
    one: Any = {
        "metrics": {"log_loss": 0.30, "roc_auc": 0.90, "log_loss_uncalibrated": 0.9},
        "intervals": {"log_loss": [0.29, 0.31], "roc_auc": [0.88, 0.92]},
    }
    other: Any = {
        "metrics": {"log_loss": 0.20, "roc_auc": 0.91, "log_loss_uncalibrated": 0.1},
        "intervals": {"log_loss": [0.19, 0.21], "roc_auc": [0.89, 0.93]},
    }
    page = str(models.comparison(one, other))
    assert page.count('<span class="df-chip good">second</span>') == 1
    assert page.count("within the intervals") == 1
    assert "uncalibrated" not in page


def test_the_smaller_bias_is_better_whatever_its_sign() -> None:
    """A mean error of -809 is nearer to 0 than one of 1,825."""
    one, other = ({"metrics": {"mean_error": value}} for value in (-808.7, 1825.0))
    assert "<small>first</small>" in models.comparison(one, other)
    assert "<small>second</small>" in models.comparison(other, one)


def test_the_way_back_is_the_one_the_system_goes() -> None:
    """The newest entry of another model; going back again goes further back, never forward to what was left; none at the start."""

    def entry(number: int, version: str, restores: int | None = None) -> Any:
        return {"number": number, "to": {"name": "m", "version": version}, "restores": restores}

    def goes_to(*entries: Any) -> int | None:
        result = models.previous({"entries": list(reversed(entries)), "active": entries[-1]["number"]})
        return result["number"] if result else None

    first, second, third = entry(1, "1"), entry(2, "2"), entry(3, "3")
    assert goes_to(first) is None
    assert goes_to(first, second, third) == 2
    assert goes_to(first, second, third, entry(4, "2", restores=2)) == 1
    assert goes_to(first, second, third, entry(4, "2", restores=2), entry(5, "4")) == 2
    assert goes_to(first, entry(2, "1"), entry(3, "1")) is None  # a candidate was tried and given up


def test_a_close_call_does_not_contradict_the_answer() -> None:
    """When the only plausible label is not the likelier one, the page says so."""
    document = {"label": "no", "prediction_set": {"coverage": 0.9, "labels": ["yes"]}}
    assert "A close call" in str(predict.prediction_set(document))
    assert "close call" not in str(predict.prediction_set({**document, "label": "yes"}))


def test_an_answer_about_another_upload_is_dropped() -> None:
    """Somebody chooses a second upload while the first is asked for: the late answer changes nothing on the page."""
    import gradio as gr

    from dropforge_ui.pages.data import controls as data_tab

    class Slow:
        def uploads(self) -> Any:
            return [{"upload_id": i, "key": f"incoming/{i}.csv", "state": "concluded"} for i in ("a", "b")]

        def upload(self, upload_id: str) -> Any:
            now.turn(upload_id="b")
            return {"upload_id": upload_id, "key": "incoming/a.csv", "state": "concluded", "history": []}

    now = data_tab.Chosen(upload_id="a")
    late = data_tab._look(cast("Any", Slow()), now)
    assert all(update == gr.skip() for update in late)
    assert now.upload_id == "b"


@pytest.mark.parametrize(
    ("verified", "words", "tone"),
    [
        ({"ok": True, "key": True, "keyed": 1, "unkeyed": 0}, "verified by key", "good"),
        ({"ok": True, "key": False, "keyed": 0, "unkeyed": 1}, "chain verified", "good"),
        (
            {"ok": False, "key": True, "keyed": 1, "unkeyed": 0, "problems": ["entry 1: its MAC does not match"]},
            "chain broken",
            "bad",
        ),
    ],
)
def test_the_history_says_what_vouches_for_it(verified: Any, words: str, tone: str) -> None:
    """Authenticated by the key, a chain of hashes alone, or broken: one chip, and the problems in words."""
    entry: Any = {"number": 1, "at": "2026-01-01T00:00:00+00:00", "by": "ann", "to": {"name": "demo", "version": "1"}}
    shown = str(models.ledger({"entries": [entry], "active": 1, "verified": verified}))
    chips = {"verified by key", "chain verified", "chain broken"}
    assert {c for c in chips if c in shown} == {words}
    assert f'class="df-chip {tone}"' in shown
    assert all(problem in shown for problem in verified.get("problems", ()))


def test_equal_problems_are_one_line() -> None:
    """With their number, and time and id of the newest; others stay apart."""
    one: Any = {
        "part": "control",
        "what": "GET /uploads answered 404",
        "code": "upload_unknown",
        "message": "upload_unknown",
    }
    times = [f"2026-01-01T00:00:0{second}+00:00" for second in (5, 4, 3)]
    listed = [{**one, "at": at, "id": f"request-{i}"} for i, at in enumerate(times)]
    other = {**one, "at": times[0], "message": "out of memory", "id": "another"}
    shown = str(monitoring.problems({"problems": [*listed, other]}))
    assert shown.count("<tr") == 1 + 2
    assert "3 times" in shown
    assert "request-0" in shown
    assert "request-1" not in shown
    assert "another" in shown


@pytest.mark.parametrize(
    ("value", "shown", "added"),
    [
        (161_919.6, "161,920", "+161,920"),
        (9_999.7, "10,000", "+10,000"),
        (1_234.56, "1,235", "+1,235"),
        (0.1234567, "0.1235", "+0.123"),
    ],
)
def test_amounts_have_no_exponent(value: float, shown: str, added: str) -> None:
    """A price of 161,920 is not 1.619e+05, and what a feature adds to it fits its place."""
    assert words.number(value) == shown
    assert words.contribution(value) == added
