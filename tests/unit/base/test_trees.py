"""Removing directory trees, real ones: what matters is what the kernel does."""

import os
from pathlib import Path

import pytest

from hearth.base.trees import merge_trees, remove_tree


def test_a_tree_of_any_depth_is_removed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for level in range(2_100):  # longer than a path may be, so only step by step
        os.mkdir(f"d{level % 3}", dir_fd=handle)
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=handle))
        deeper = os.open(f"d{level % 3}", os.O_RDONLY | os.O_DIRECTORY, dir_fd=handle)
        os.close(handle)
        handle = deeper
    os.close(handle)
    remove_tree(root)
    assert not any(tmp_path.iterdir())


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(kept)
    (root / "broken").symlink_to("nowhere")
    remove_tree(root)
    assert [path.name for path in tmp_path.rglob("*")] == ["kept", "file"]


def test_what_a_killed_removal_left_and_what_may_not_be_written_is_removed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / ".removing-1" / "a" / "b").mkdir(parents=True)
    (root / ".removing-1" / "a" / "b").chmod(0o000)
    (root / ".removing-1" / "a").chmod(0o500)
    remove_tree(root)
    assert not root.exists()


def test_what_is_not_there_cannot_be_removed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        remove_tree(tmp_path / "nothing")


def test_of_merged_trees_the_last_one_wins_at_each_name(tmp_path: Path) -> None:
    low, high, merged = tmp_path / "low", tmp_path / "high", tmp_path / "merged"
    for tree in (low, high):
        (tree / "both").mkdir(parents=True)
        (tree / "both" / tree.name).write_text(tree.name)
        (tree / "file").write_text(tree.name)
    (low / "was-directory").mkdir()
    (low / "was-directory" / "x").touch()
    (high / "was-directory").write_text("file now")
    (low / "was-file").touch()
    (high / "was-file").mkdir()
    (low / "link").symlink_to("both")
    (high / "link").mkdir()
    (high / "link" / "own").touch()
    (high / "to-nowhere").symlink_to("../..")
    merged.mkdir()
    merge_trees([low, high], merged)
    found = {str(path.relative_to(merged)) for path in merged.rglob("*")}
    assert found == {
        *("both", "both/low", "both/high", "file", "was-directory", "was-file", "link"),
        *("link/own", "to-nowhere"),
    }
    assert (merged / "file").read_text() == "high"
    assert (merged / "was-directory").read_text() == "file now"
    assert not (merged / "link").is_symlink(), "the link of a lower tree was followed"
    assert not (low / "both" / "own").exists()
    assert (merged / "to-nowhere").readlink() == Path("../..")
    assert (merged / "file").stat().st_ino == (high / "file").stat().st_ino
