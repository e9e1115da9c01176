"""From what a user names to an open project."""

from __future__ import annotations

from cellbrook.server.launch import open_workspace


def test_what_was_taken_out_stays_out_until_it_is_named_itself(images):
    with open_workspace([str(images)]).project as project:
        project.remove(project.find("first").id)
    opened = open_workspace([str(images)])
    with opened.project as project:
        assert [r.name for r in project.images()] == ["second"]
        assert opened.notes == []
    with open_workspace([str(images / "first.png")]).project as project:
        assert [r.name for r in project.images()] == ["first", "second"]
