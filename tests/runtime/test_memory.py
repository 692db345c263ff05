from superres.runtime import memory


def limit(folder, most, used, cached):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\n")


def test_free_memory_is_the_least_that_a_control_group_leaves(tmp_path, monkeypatch):
    """As in a container: the process's own group, or one above it, has a limit."""
    (tmp_path / "own").write_text("4:memory:/old\n0::/pod/container\n")
    monkeypatch.setattr(memory, "OWN_GROUP", tmp_path / "own")
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")
    without = memory.free_memory()
    assert without > 2**20
    limit(tmp_path / "groups" / "pod" / "container", "max", 5, 0)  # has no limit
    assert memory.free_memory() > 2**20
    limit(tmp_path / "groups" / "pod", 10_000, 7000, 1500)
    assert memory.free_memory() == 4500
    limit(tmp_path / "groups" / "pod" / "container", 5000, 4000, 0)
    assert memory.free_memory() == 1000
    limit(tmp_path / "groups" / "pod" / "container", 5000, 6000, 0)
    assert memory.free_memory() == 0
