from superres.runtime import memory


def limit(folder, most, used, cached):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\n")


def test_free_memory_is_the_least_that_a_control_group_leaves(tmp_path, monkeypatch):
    (tmp_path / "own").write_text("4:memory:/old\n0::/pod/container\n")
    monkeypatch.setattr(memory, "OWN_GROUP", tmp_path / "own")
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")
    pod, container = tmp_path / "groups" / "pod", tmp_path / "groups" / "pod" / "container"
    assert memory.free_memory() > 2**20
    limit(container, "max", 5, 0)  # has no limit
    assert memory.free_memory() > 2**20
    for place, numbers, expected in (
        (pod, (10_000, 7000, 1500), 4500),
        (container, (5000, 4000, 0), 1000),
        (container, (5000, 6000, 0), 0),
    ):
        limit(place, *numbers)
        assert memory.free_memory() == expected
