"""Files to settings: what is accepted, and how each mistake is named."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volproc.config.cluster import ClusterConfig
from volproc.config.loading import Config, dump_resolved, load, merge, resolve
from volproc.config.segment import SegmentConfig
from volproc.core.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"
MINIMAL = "input: a.mrc\noutput: b.ome.zarr\nmodel: c.pt\n"


class Part(Config):
    radius_angstrom: float
    name: str = "part"


class Tree(Config):
    parts: tuple[Part, ...] = ()
    by_name: dict[str, Part] | None = None
    choice: Part | int = 0


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    return path


def test_defaults_fill_what_a_file_leaves_out(tmp_path: Path) -> None:
    config = load(write(tmp_path, MINIMAL), SegmentConfig)
    assert (config.input, config.overlap, config.tta) == ("a.mrc", 0.25, "none")
    assert config.run == ClusterConfig()


def test_a_flag_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    path = write(
        tmp_path, MINIMAL + "overlap: 0.5\nbatch_size: 4\nrun: {cluster: local, timeout_s: 9}\n"
    )
    flags = {"batch_size": 8, "overlap": None, "run": {"cluster": "threads"}}
    config = resolve(SegmentConfig, path=path, flags=flags)
    assert (config.overlap, config.batch_size, config.window) == (0.5, 8, "gaussian")
    assert (config.run.cluster, config.run.timeout_s) == ("threads", 9.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("voxelsize_angstrom: 3", 'unknown key "voxelsize_angstrom" in {path}, did you mean '
         '"voxel_size_angstrom"?'),
        ("run: {num_worker: 2}", 'unknown key "run.num_worker" in {path}, did you mean '
         '"num_workers"?'),
        ("batch_size: many", "batch_size in {path}: input should be a valid integer"),
        ("batch_size: many", "got 'many'."),
        ("overlap: 1.0", "overlap in {path}: input should be less than 1, got 1.0."),
        ("overlap: .nan", "overlap in {path}: input should be"),
        ("chunks: [64]", "chunks in {path}: tuple should have at least 2"),
        ("device: gpu", 'device must be auto, cpu, cuda or cuda:N, got "gpu".'),
        ("probabilities: float64", "probabilities in {path}: input should be 'none', 'float16'"),
        ("pad: true\npad: false", 'the key "pad" is given twice'),
    ],
)  # fmt: skip
def test_a_mistake_names_file_key_and_cure(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, MINIMAL + text)
    with pytest.raises(ConfigError) as caught:
        load(path, SegmentConfig)
    assert said.format(path=path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("parts: [{radius_angstrom: 3}, {radius: 4}]", 'unknown key "parts[1].radius" in'),
        ("parts: [{radius_angstrom: 3}, {radius: 4}]", 'did you mean "radius_angstrom"?'),
        ("parts: [{radius_angstrom: 3}, {}]", "parts[1].radius_angstrom is missing"),
        ("by_name: {ribosome: {radius_angstrom: big}}", "by_name.ribosome.radius_angstrom in"),
        ("choice: {radius_angstrom: 3, nam: x}", 'did you mean "name"?'),
    ],
)
def test_a_mistake_deep_inside_is_found(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text), Tree)
    assert said in str(caught.value)


def test_every_mistake_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, "batch_size: many\noverlap: -1\n"), SegmentConfig)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert any(line.startswith("input is missing in") for line in lines)


def test_a_wrong_flag_is_named_as_a_flag(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the option --batch-size: .* got 0\."):
        resolve(SegmentConfig, path=write(tmp_path, MINIMAL), flags={"batch_size": 0})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1, 2", "is not valid YAML: line 1"),
        ("- 1\n- 2\n", "holds list, not settings"),
        ("1: 2", "holds dict, not settings"),
        ("a: !!python/object/apply:os.system [ls]", "is not valid YAML"),
    ],
)
def test_what_is_no_configuration_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(write(tmp_path, text), SegmentConfig)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a0: &a0 [x, x, x, x]\n" + "".join(
            f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
        ), "unfolds to more than 100,000 values"),
        ("a: &a [*a]\n", "unfolds to more than 100,000 values"),
        ("a: " + "[" * 20_000 + "]" * 20_000, "nested too deeply"),
        ("a: !!python/object/apply:os.system [true]\n", "is not valid YAML"),
        ("a: !!python/name:os.system\n", "is not valid YAML"),
    ],
    ids=["laughs", "self", "deep", "call", "name"],
)  # fmt: skip
def test_a_hostile_file_is_refused_at_once(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "hostile.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load(path, ClusterConfig)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml does not exist"):
        load(tmp_path / "nowhere.yaml", SegmentConfig)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, SegmentConfig)


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert load(write(tmp_path, "# nothing\n"), ClusterConfig) == ClusterConfig()


def test_exponents_without_a_point_are_numbers(tmp_path: Path) -> None:
    # YAML 1.1 reads 1e1 as text; people mean a number.
    assert load(write(tmp_path, "timeout_s: 1e1\n"), ClusterConfig).timeout_s == 10.0


def test_what_was_resolved_is_read_back_the_same(tmp_path: Path) -> None:
    config = load(write(tmp_path, MINIMAL + "chunks: [5, 7, 11]\n"), SegmentConfig)
    path = tmp_path / "resolved.yaml"
    dump_resolved(config, path, facts={"volproc": "0.1.0", "seed": 3})
    assert load(path, SegmentConfig) == config
    assert path.read_text().startswith("# volproc: 0.1.0\n# seed: 3\n")
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


leaves = st.integers() | st.text(max_size=3)
trees = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(leaves, lambda t: st.dictionaries(st.sampled_from("abc"), t, max_size=3)),
)


@given(trees, trees)
def test_the_upper_tree_wins_and_nothing_else_is_lost(base: dict, over: dict) -> None:
    merged = merge(base, over)
    assert merge(base, {}) == merge({}, base) == base
    assert leaf_paths(merged) >= leaf_paths(over)
    kept = leaf_paths(merged) - leaf_paths(over)
    assert kept <= leaf_paths(base)


def leaf_paths(tree: object, path: tuple[str, ...] = ()) -> set[tuple[tuple[str, ...], str]]:
    if isinstance(tree, dict):
        return {leaf for key, below in tree.items() for leaf in leaf_paths(below, (*path, key))}
    return {(path, repr(tree))}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("cluster-*.yaml")), ids=lambda p: p.stem)
def test_the_shipped_cluster_files_are_valid(path: Path) -> None:
    assert load(path, ClusterConfig).cluster in (
        "local", "cuda", "slurm", "tcp://127.0.0.1:8786"
    )  # fmt: skip


def test_the_shipped_segment_file_is_valid() -> None:
    assert load(CONFIGS / "segment-semantic.yaml", SegmentConfig).tta == "octopi4"


def test_a_memory_limit_in_gib_becomes_bytes() -> None:
    assert ClusterConfig(memory_limit_gib=0.5).memory_limit_bytes == 2**29
    assert ClusterConfig().memory_limit_bytes is None
