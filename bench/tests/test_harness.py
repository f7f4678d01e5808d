"""The parts that can be wrong without anything failing: statistics, memory, the page, the graph, the plot."""

import math
import statistics
import sys
import tempfile
import unittest
import xml.etree.ElementTree as xml
from pathlib import Path

from claims import int8, latency, recipe, runtimes
from harness import page, plot
from harness.executed import of_kinds
from harness.graph import Graph, Work
from harness.measure import (
    Command,
    Failed,
    Measured,
    Spread,
    alternate,
    peak_memory,
    ratios,
    run,
    wall_time,
)
from harness.metrics import Metrics

HERE = Path(__file__).parent


def measured(name: str, seconds: list[float], peak: int = 1_000_000) -> Measured:
    return Measured(Command(name, [name], HERE), seconds, peak)


class Statistics(unittest.TestCase):
    def test_a_spread_has_its_quartiles(self):
        self.assertEqual(Spread.of([5, 1, 4, 2, 3]), Spread(3, 2, 4, 1, 5, 5))
        self.assertEqual(Spread.of([7]), Spread(7, 7, 7, 7, 7, 1))

    def test_ratios_are_taken_round_by_round(self):
        # Twice as slow in a round that a disturbance made ten times as slow for both.
        found = ratios(measured("a", [2, 20, 2]), measured("b", [1, 10, 1]))
        self.assertEqual((found.least, found.median, found.most), (2, 2, 2))

    def test_rounds_that_do_not_pair_are_refused(self):
        with self.assertRaises(ValueError):
            ratios(measured("a", [1]), measured("b", [1, 2]))


class Runtimes(unittest.TestCase):
    def test_what_computes_in_integers_is_counted_by_its_name(self):
        found = of_kinds(["QLinearConv", "Conv", "FusedConv", "QGemm", "QLinearAdd", "Relu"])
        self.assertEqual(found, {"integers": 2, "products": 4})

    def test_a_profile_names_operators_by_number(self):
        line = '{"name" :"_kernel_time","args" : {"op_name" : "QLinearConv","node_index" : "12","provider" : "CPU"}},'
        self.assertEqual(runtimes._node(line), ("12", "QLinearConv"))
        self.assertIsNone(runtimes._node('{"cat" : "Session","name" :"model_run"}'))

    def test_times_are_held_against_floats_of_the_same_round(self):
        floats, form = runtimes.Found(ms=[2.0, 20.0, 2.0]), runtimes.Found(ms=[4.0, 40.0, 1.0])
        self.assertEqual(runtimes._ratio(floats, form), 0.5)
        self.assertIsNone(runtimes._ratio(floats, runtimes.Found(refused="no")))


class Processes(unittest.TestCase):
    def command(self, script: str, **more) -> Command:
        return Command("python", [sys.executable, "-c", script], HERE, **more)

    def test_wall_time_covers_the_whole_process(self):
        self.assertGreaterEqual(wall_time(self.command("import time; time.sleep(0.05)")), 0.05)

    def test_memory_is_that_of_the_process_and_not_of_this_one(self):
        ballast = bytearray(200_000_000)
        small = peak_memory(Command("true", ["true"], HERE))
        large = peak_memory(self.command("bytes(bytearray(100_000_000))"))
        self.assertLess(small, 20_000_000)
        self.assertTrue(100_000_000 < large < 300_000_000, large)
        del ballast

    def test_a_failure_quotes_what_was_printed(self):
        for measure in (wall_time, peak_memory, run):
            with self.assertRaisesRegex(Failed, "ended with 3:\nno luck"):
                measure(self.command("import sys; print('no luck', file=sys.stderr); sys.exit(3)"))
        wall_time(self.command("import sys; sys.exit(3)", codes=frozenset({3})))

    def test_commands_alternate_and_are_prepared_each_time(self):
        order = []
        commands = [
            Command(name, ["true"], HERE, before=lambda name=name: order.append(name)) for name in "ab"
        ]
        self.assertEqual([len(one.seconds) for one in alternate(commands, 2)], [2, 2])
        self.assertEqual("".join(order), "ab" + "abab")

    def test_output_is_given(self):
        self.assertEqual(run(self.command("print(6 * 7)")), "42\n")


class Page(unittest.TestCase):
    def test_a_section_is_replaced_and_the_others_stay(self):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "page.md"
            for name, text in [("execute", "one\n"), ("null-run", "two\n"), ("execute", "three\n")]:
                page.update(name, text, file)
            text = file.read_text()
        self.assertEqual(page.read(text)["null-run"], "two\n")
        self.assertEqual(page.read(text)["execute"], "three\n")
        self.assertIn("Not measured yet: `python3 bench/run.py growth`", text)
        self.assertNotIn("one", page.read(text).values())
        self.assertEqual(page.render(page.read(text)), text)

    def test_the_committed_page_is_as_the_scripts_write_it(self):
        text = page.PAGE.read_text()
        self.assertEqual(page.render(page.read(text)), text, "docs/benchmarks.md was edited by hand")

    def test_numbers_have_units(self):
        self.assertEqual([page.duration(x) for x in (0.0712, 1.5, 90)], ["71.2 ms", "1.50 s", "1.5 min"])
        self.assertEqual(
            [page.size(x) for x in (12, 4_500, 45_600_000, 2e9)], ["12 B", "4.5 KB", "45.6 MB", "2.0 GB"]
        )
        self.assertEqual(
            [page.factor(x) for x in (0.00123456, 0.931, 12.3456, 4321)],
            ["0.00123", "0.931", "12.3", "4,321"],
        )


class Figures(unittest.TestCase):
    def test_a_metric_that_is_not_there_says_where_to_look(self):
        metrics = Metrics({"bench.fp32.batch1.median_ms": 1.5})
        self.assertEqual(metrics["bench.fp32.batch1.median_ms"], 1.5)
        with self.assertRaisesRegex(Failed, "no metric `bench.int8.batch1.median_ms`; `pipe log bench`"):
            metrics["bench.int8.batch1.median_ms"]


class Latency(unittest.TestCase):
    def times(self, single: float, many: float) -> dict[latency.Case, list[float]]:
        """Of one thread at batch 1, of two at both batch sizes."""
        fast, slow = latency.Case("fp32", 1, 2), latency.Case("fp32", 1, 1)
        return {fast: [1, 1, 30], slow: [single] * 3, latency.Case("fp32", 128, 2): [many, many, many]}

    def test_metrics_name_threads_where_they_are_not_all(self):
        self.assertEqual(latency.Case("int8", 128, 2).metric(2), "bench.int8.batch128.median_ms")
        self.assertEqual(latency.Case("int8", 1, 1).metric(2), "bench.int8.batch1.threads1.median_ms")

    def test_medians_are_held_against_each_other_by_batch_size(self):
        one, many = latency.verdicts(self.times(2.2, 10.4), self.times(2.0, 10.0))
        self.assertEqual(one, "✖ medians within 5 % of Python's at batch 1: at most +10.0 % (fp32, threads 1)")
        self.assertEqual(many, "✔ medians within 5 % of Python's at batch 128: at most +4.0 % (fp32, threads 2)")
        faster = latency.verdicts(self.times(1.88, 9.0), self.times(2.0, 10.0))
        self.assertEqual([line[0] for line in faster], ["✖", "✖"])

    def test_the_table_has_medians_and_ratios_by_round(self):
        rows = latency.table(self.times(3.0, 10.0), self.times(2.0, 10.0)).splitlines()
        self.assertEqual(rows[2], "| fp32 | 1 | 2 | 1 ms (1 to 15.5) | 1 ms (1 to 15.5) | ×1 (×1 to ×1) |")
        self.assertIn("| fp32 | 1 | 1 | 3 ms (3 to 3) | 2 ms (2 to 2) | ×1.5 (×1.5 to ×1.5) |", rows)


class Accuracy(unittest.TestCase):
    def test_differences_are_of_the_same_images_over_all_draws(self):
        draws = [
            {"one": {"wrong": [0]}, "other": {"wrong": [0, 1, 2, 3]}},
            {"one": {"wrong": []}, "other": {"wrong": [1, 2]}},
        ]
        found = int8.Difference.of(int8.points_by_image(draws, 100, "one", "other"))
        self.assertAlmostEqual(found.points, 2.5)
        self.assertAlmostEqual(found.margin, 1.96 * statistics.stdev([100, 100, 50, *[0] * 97]) / 10)
        self.assertIn("+2.50 (95 % interval -0.41 to +5.41), too small to tell", str(found))
        self.assertEqual(int8.points_by_image(draws, 100, "other", "one")[:5], [0, -100, -100, -50, 0])


class Recipes(unittest.TestCase):
    def test_a_difference_has_the_interval_of_the_less_certain(self):
        self.assertAlmostEqual(recipe.margin((50, 90), 10_000), 1.96 * math.sqrt(2 * 0.25 / 10_000) * 100)
        self.assertEqual(recipe.apart(85.63, 82.9, 10_000), "+2.73 ± 1.04")


class Generated(unittest.TestCase):
    def test_both_projects_have_the_same_graph(self):
        with tempfile.TemporaryDirectory() as folder:
            graph = Graph(Path(folder) / "g", 250, Work.COPY)
            graph.write()
            stages = (graph.pipe / "pipeline.yaml").read_text().splitlines()
            edges = [
                line
                for line in (graph.ninja / "build.ninja").read_text().splitlines()
                if line.startswith("build ")
            ]
        self.assertEqual(len(edges), 250)
        self.assertIn("inputs: { src: src/s00199, a: s00099.out, b: s00000.out }", stages[3 + 199])
        self.assertEqual(edges[199], "build out/s00199: work src/s00199 | out/s00099 out/s00000")
        self.assertEqual(graph.readers("s00000"), ["s00100", "s00199"])


class Plot(unittest.TestCase):
    def test_it_is_well_formed_and_has_its_units(self):
        line = plot.Line("a < b", [(100, 3.5), (100_000, 700)])
        text = plot.svg([plot.Panel("Time", "stages", [line], "ms")], "what it shows")
        root = xml.fromstring(text)
        words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        self.assertIn("a < b", words)
        self.assertIn("1,000 ms", words)
        self.assertIn("100,000", words)
        self.assertIn("prefers-color-scheme: dark", text)


if __name__ == "__main__":
    unittest.main()
