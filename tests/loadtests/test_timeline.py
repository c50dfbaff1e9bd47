"""The times of a run by the second, and the page that shows them."""

from loadtests.timeline import Timeline, page


def test_a_page_shows_quantiles_of_each_series() -> None:
    timeline = Timeline()
    for number in range(1, 101):
        timeline.add("TTFT", number // 10, number / 1000)
    text = page(timeline, ["Target: <a>"], {"E2E: <b>": 7})
    assert "Target: &lt;a&gt;" in text
    assert "<td>E2E: &lt;b&gt;</td><td>7</td>" in text
    assert "<td>100</td><td>50.5 ms</td><td>50 ms</td><td>95 ms</td><td>99 ms</td><td>100 ms</td>" in text
    assert text.count("<polyline") == 3
    assert text.count("None was measured.") == 1
    assert "http" not in text.replace("http://www.w3.org", "")


def test_a_time_that_rises_is_drawn_higher() -> None:
    timeline = Timeline()
    for second, seconds in ((100, 0.01), (101, 0.02)):
        timeline.add("ITL", second, seconds)
    (first, *_) = page(timeline, []).split('<polyline points="')[1:]
    points = [tuple(map(float, point.split(","))) for point in first.split('"')[0].split()]
    assert points[0][0] < points[1][0] and points[0][1] > points[1][1]


def test_workers_send_each_time_once() -> None:
    worker, master = Timeline(), Timeline()
    worker.add("ITL", 7, 0.010)
    master.merge(worker.take())
    worker.add("ITL", 7, 0.020)
    master.merge(worker.take())
    assert master.total("ITL") == {10_000: 1, 20_000: 1}


def test_a_long_run_keeps_a_bounded_number_of_points() -> None:
    timeline = Timeline()
    for second in range(100_000):
        timeline.add("ITL", second, 0.001 * (second % 3 + 1))
    assert len(timeline.counts["ITL"]) <= 600
    assert timeline.total("ITL").total() == 100_000
