from cellbrook.project.project import Project
from cellbrook.server.sample import sample_project


def test_the_sample_project_has_images_of_several_kinds_and_is_made_once(tmp_path):
    folder = sample_project(tmp_path / "sample.project")
    with Project.open(folder) as project:
        names = [record.name for record in project.images()]
        assert len(names) == 4
        two = project.find(next(name for name in names if name.startswith("two_channels")))
        source = project.open_image(two if isinstance(two, str) else two.id)
        assert source.axes == "CYX"
        assert source.pixel_size_um is not None
        project.set_state(project.images()[0].id, "done")
    assert sample_project(folder) == folder
    with Project.open(folder) as project:
        assert project.images()[0].state == "done"
