"""What a person does in the first minutes: look, find cells, correct, sort, take the files along."""

import csv
import io

import pytest

SESSION = "window.cellbrook.session"


def count(page):
    """Cells in the picture that are shown."""
    return page.evaluate(f"{SESSION}.objects.counts.value[0]")


def wait(page, condition, attempts=600):
    """Wait until a condition holds. (The page forbids the `eval` that Playwright's own waiting needs.)"""
    for _ in range(attempts):
        if page.evaluate(f"() => Boolean({condition})"):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"did not become true: {condition}")


def open_image(page, name):
    page.locator(".images .open").filter(has_text=name).click()
    wait(page, f"{SESSION}.image.value?.name.startsWith({name!r}) && {SESSION}.picture.value !== null")
    page.locator(".scalebar").wait_for()


def find_cells(page):
    page.get_by_role("tab", name="Find").click()
    before = page.evaluate(f"{SESSION}.jobs.value.length")
    page.get_by_role("button", name="Find cells", exact=True).click()
    wait(page, f"{SESSION}.jobs.value.length > {before}")
    wait(page, f"!['queued', 'running'].includes({SESSION}.jobs.value.at(-1).state)", attempts=1800)
    assert page.evaluate(f"{SESSION}.jobs.value.at(-1).state") == "done"
    wait(page, f"{SESSION}.objects.counts.value[0] > 10")


def found_cells_to_teach(page):
    """With the cells of an image found, the tab where they teach."""
    open_image(page, "fluorescence")
    find_cells(page)
    page.get_by_role("tab", name="Teach").click()


def centre_of_a_cell(page, number=0):
    """Where the n-th cell lies on the screen, and its id."""
    return page.evaluate(
        f"""(number) => {{
          const {{ objects, view }} = {SESSION};
          const {{ centre, zoom, width, height }} = view.value;
          const cell = objects.rows().filter((c) => !c.discarded && c.y0 > 40 && c.x0 > 40 && c.area > 300)[number];
          const box = document.querySelector(".picture canvas").getBoundingClientRect();
          const x = ((cell.x0 + cell.x1) / 2 - centre[1]) * zoom + width / 2;
          const y = ((cell.y0 + cell.y1) / 2 - centre[0]) * zoom + height / 2;
          return {{ x: box.x + x, y: box.y + y, id: cell.id }};
        }}""",
        number,
    )


@pytest.fixture
def page(tab, shared_sample):
    with tab(shared_sample) as page:
        page.locator(".images .open").first.wait_for()
        yield page


def test_from_an_image_to_corrected_files(page):
    open_image(page, "fluorescence")
    undo = page.get_by_role("button", name="Undo", exact=True)
    assert undo.is_disabled()
    find_cells(page)
    found = count(page)
    # a click selects, Delete deletes, undo brings back
    place = centre_of_a_cell(page)
    page.mouse.click(place["x"], place["y"])
    wait(page, f"{SESSION}.selection.value.has({place['id']})")
    page.keyboard.press("Delete")
    wait(page, f"{SESSION}.objects.counts.value[0] === {found - 1}")
    page.locator("[data-hint^='Undo: deleting cells']").wait_for()
    undo.click()
    wait(page, f"{SESSION}.objects.counts.value[0] === {found}")
    page.get_by_role("button", name="Redo").click()
    wait(page, f"{SESSION}.objects.counts.value[0] === {found - 1}")
    # draw a new one where it was
    page.get_by_role("button", name="Brush", exact=True).click()
    page.mouse.move(place["x"] - 3, place["y"])
    page.mouse.down()
    page.mouse.move(place["x"] + 3, place["y"] + 2, steps=4)
    page.mouse.up()
    wait(page, f"{SESSION}.objects.counts.value[0] === {found}")
    page.get_by_text("All changes saved").wait_for()
    # the files say the same
    page.get_by_role("tab", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Measurements").first.click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert len(rows) == found
    page.get_by_role("button", name="Mark as done").click()
    page.get_by_text("1 of ").wait_for()


def test_limits_are_suggested_from_corrections_and_used(serve, tab):
    """In a project of its own, whose limits no other test finds changed."""
    with tab(serve("--sample").start()) as page:
        page.locator(".images .open").first.wait_for()
        open_image(page, "fluorescence")
        find_cells(page)
        suggest = page.get_by_role("button", name="Suggest limits from my corrections")
        suggest.click()
        page.get_by_text("3 of each are needed, and fluorescence").first.wait_for()
        small = page.evaluate(
            f"""() => {{
              const session = {SESSION};
              const cells = session.objects.rows().filter((c) => !c.discarded).sort((a, b) => a.area - b.area);
              session.delete(cells.slice(0, 3).map((c) => c.id));
              session.lock(true, cells.slice(-4).map((c) => c.id));
              return cells[2].area;
            }}"""
        )
        page.get_by_text("All changes saved").wait_for()
        suggest.click()
        page.get_by_text("of the 4 cells you want (4 now)").wait_for()
        page.get_by_role("button", name="Use these limits").click()
        page.get_by_text("These limits keep 4 of the 4 cells you want").wait_for()
        limits = page.evaluate(f"{SESSION}.limits()")
        assert limits["min_size"] > small or limits["min_score"] > 0.4
        wait(page, f"!{SESSION}.objects.moved.value")


def test_sliders_hide_at_once_and_the_table_follows(page):
    open_image(page, "fluorescence")
    find_cells(page)
    before = count(page)
    slider = page.get_by_role("slider", name="Smallest")
    for position in range(40, 100, 5):
        slider.fill(str(position))
        if count(page) < before:
            break
    fewer = count(page)
    assert 0 < fewer < before, "before any answer of the server"
    page.get_by_role("tab", name="Cells").click()
    shown = page.locator(".table [role=row]").count()
    assert 5 < shown < 80, "only the rows in sight are in the page"
    assert page.locator("[role=grid]").get_attribute("aria-rowcount") == str(fewer + 1)
    page.get_by_role("button", name="Score", exact=True).click()
    scores = [float(t) for t in page.locator(".tbody .tr > span:nth-child(3)").all_inner_texts()[:10]]
    assert scores == sorted(scores)
    page.locator(".tbody .tr").first.click()
    wait(page, f"{SESSION}.selection.value.size === 1")
    # a range that is marked is of this image
    bars = page.get_by_role("img", name="Area").bounding_box()
    page.mouse.move(bars["x"] + bars["width"] / 2, bars["y"] + 9)
    page.mouse.down()
    page.mouse.move(bars["x"] + bars["width"], bars["y"] + 9, steps=4)
    page.mouse.up()
    everything = page.get_by_role("button", name="Show all")
    everything.wait_for()
    open_image(page, "stained_tissue")
    wait(page, f"{SESSION}.draw(Int32Array.of(5, 5, 35)) > 0")
    page.locator(".table [role=row]").nth(1).wait_for()
    assert everything.count() == 0
    page.get_by_text("All changes saved").wait_for()
    page.evaluate(f"{SESSION}.undo()")


def test_another_browser_sees_the_same_limits(page, tab, shared_sample):
    open_image(page, "fluorescence")
    find_cells(page)
    page.get_by_role("tab", name="Find").click()
    done = f"{SESSION}.jobs.value.filter((job) => job.kind === 'rethreshold' && job.state === 'done').length"
    before = page.evaluate(done)
    page.get_by_role("checkbox", name="Hide cells at the edge").check()
    wait(page, f"{done} > {before}", attempts=1200)
    kept = count(page)
    page.wait_for_timeout(1500)  # what was made is told a while after
    with tab(shared_sample) as other:
        open_image(other, "fluorescence")
        wait(other, f"{SESSION}.objects.counts.value[0] === {kept}")
        assert other.evaluate(f"{SESSION}.objects.thresholds.value.exclude_border") is True
    page.get_by_role("checkbox", name="Hide cells at the edge").uncheck()
    wait(page, f"{done} > {before + 1}", attempts=1200)


def test_classes_have_names_colours_and_keys(page):
    open_image(page, "stained_tissue")
    find_cells(page)
    page.get_by_role("tab", name="View").click()
    page.get_by_role("button", name="Add a class").click()
    name = page.get_by_role("textbox", name="Name of class 1")
    name.fill("divid")
    page.evaluate(
        f"{SESSION}.receive({{ type: 'project', project: structuredClone({SESSION}.project.value) }})"
    )
    page.wait_for_timeout(100)
    assert name.input_value() == "divid", "what is typed stays while the server speaks"
    name.press_sequentially("ing")
    page.keyboard.press("Enter")
    wait(page, f"{SESSION}.classes.value[0].name === 'dividing'")
    place = centre_of_a_cell(page)
    page.mouse.click(place["x"], place["y"])
    page.keyboard.press("1")
    wait(page, f"{SESSION}.objects.get({place['id']}).class === 1")
    page.get_by_role("tab", name="Cells").click()
    page.get_by_role("columnheader", name="Class").wait_for()


def test_images_are_added_by_dropping_them(page, examples):
    page.evaluate(
        """async (bytes) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "dropped é.png", { type: "image/png" }));
          const target = document.querySelector(".page");
          const told = { dataTransfer: data, bubbles: true, cancelable: true };
          for (const type of ["dragover", "drop"]) target.dispatchEvent(new DragEvent(type, told));
        }""",
        list(_rotated(examples / "fluorescence.png")),
    )
    page.locator(".images .open").filter(has_text="dropped é").wait_for()


def test_an_ome_zarr_folder_is_added_by_dropping_it(page, tmp_path):
    import numpy as np

    from cellbrook.io.writers import write_labels_zarr

    folder = tmp_path / "plate.ome.zarr"
    write_labels_zarr(
        folder, np.zeros((40, 60), np.uint32), image=np.arange(2400, dtype=np.uint16).reshape(40, 60)
    )

    def tree(path):
        return {p.name: list(p.read_bytes()) if p.is_file() else tree(p) for p in path.iterdir()}

    page.evaluate(  # a script cannot make a folder: this is what a browser tells of one
        """(tree) => {
          const entry = (name, held) => Array.isArray(held)
            ? { isFile: true, name, file: (found) => found(new File([new Uint8Array(held)], name)) }
            : { isFile: false, name, createReader: () => {
                const left = Object.entries(held).map(([name, held]) => entry(name, held));
                return { readEntries: (found) => found(left.splice(0, 2)) };
              } };
          const told = new Event("drop", { bubbles: true, cancelable: true });
          const item = { kind: "file", webkitGetAsEntry: () => entry("plate.ome.zarr", tree) };
          told.dataTransfer = { types: ["Files"], items: [item] };
          document.querySelector(".page").dispatchEvent(told);
        }""",
        tree(folder),
    )
    open_image(page, "plate")
    wait(page, f"{SESSION}.image.value.name === 'plate' && {SESSION}.image.value.shape[1] === 60")


def _rotated(path):
    """Another image than the one that is there: the project knows images by their content."""
    import imagecodecs
    import numpy as np

    return imagecodecs.png_encode(np.ascontiguousarray(np.rot90(imagecodecs.png_decode(path.read_bytes()))))


def test_the_window_of_a_channel_is_dragged_on_its_histogram(page):
    open_image(page, "fluorescence")
    page.get_by_role("tab", name="View").click()
    wait(page, "document.querySelector('.levels .bars')?.getAttribute('d').length > 100")
    channel = f"{SESSION}.channels.value[0]"
    before = page.evaluate(channel)
    edge = page.locator(".levels .edge").nth(1).bounding_box()
    page.mouse.move(edge["x"], edge["y"] + 20)
    page.mouse.down()
    page.mouse.move(edge["x"] - 60, edge["y"] + 20, steps=3)
    page.mouse.up()
    after = page.evaluate(channel)
    assert after["high"] < before["high"]
    assert after["low"] == before["low"]
    page.get_by_role("spinbutton", name="full brightness").fill("90")
    page.keyboard.press("Enter")
    wait(page, f"{channel}.high === 90")
    page.get_by_role("button", name="Auto", exact=True).click()
    wait(page, f"{channel}.high === {before['high']}")


def test_keys_are_listed_and_explained(page):
    open_image(page, "fluorescence")
    page.locator(".picture canvas").focus()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys")
    dialog.get_by_text("Undo", exact=True).wait_for()
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    page.keyboard.press("b")
    assert page.get_by_role("button", name="Brush", exact=True).get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="Cut", exact=True).hover()
    page.get_by_role("tooltip").get_by_text("make two of it").wait_for()


def test_the_address_leads_back_to_the_same_place(page):
    open_image(page, "brightfield")
    page.get_by_role("tab", name="Cells").click()
    page.keyboard.press("+")
    wait(page, "location.search.includes('at=')")
    page.wait_for_timeout(500)
    view = page.evaluate(f"{SESSION}.view.value.zoom")
    page.reload()
    wait(page, f"{SESSION}.image.value?.name.startsWith('brightfield')")
    page.get_by_text("No cells yet").wait_for()
    wait(page, f"Math.abs({SESSION}.view.value.zoom / {view} - 1) < 0.01")


def test_channels_are_chosen_where_there_are_more_than_the_model_takes(tmp_path, serve, tab):
    """Five stains, one of them only noise: two are chosen, the size that was seen is shown, all are measured."""
    import numpy as np
    import tifffile

    from cellbrook.training.synthetic import generate

    cells = generate("fluo_nuclei", 5, 256, 24).image[0].astype(np.uint16)
    noise = np.random.default_rng(0).normal(200, 9, cells.shape).astype(np.uint16)
    names = ["DAPI", "Dark", "Half", "Third", "Fourth"]
    image = np.stack([cells, noise, cells // 2, cells // 3, cells // 4])
    tifffile.imwrite(
        tmp_path / "stains.ome.tif", image, ome=True, metadata={"axes": "CYX", "Channel": {"Name": names}}
    )
    with tab(serve(tmp_path / "stains.ome.tif").start()) as page:
        open_image(page, "stains")
        page.get_by_role("tab", name="Find").click()
        choice = page.get_by_role("group", name="Channels")
        choice.get_by_text("The model looks at 3 at most, of 5 here.").wait_for()
        choice.get_by_label("DAPI").check()
        choice.get_by_label("Dark").check()
        find_cells(page)
        page.get_by_text("channel Dark holds only noise").wait_for()
        page.get_by_text("automatic: ").wait_for()
        assert page.evaluate(f"{SESSION}.jobs.value.at(-1).result.diameter_px") > 10
        choice.get_by_label("Half").check()
        assert choice.get_by_label("Fourth").is_disabled()


def test_cells_of_a_stack_are_found_in_3d(tmp_path, serve, tab):
    """One colour through planes, chosen there too; a copy into the next plane is the same cell; deleting takes all of it."""
    import numpy as np
    import tifffile

    from cellbrook.training.synthetic import generate_volume

    sample = generate_volume("spheres_3d", 910_004, (16, 96, 112), diameter=18, anisotropy=2)
    tifffile.imwrite(tmp_path / "nuclei.tif", sample.image[0].astype(np.uint16), metadata={"axes": "ZYX"})
    with tab(serve(tmp_path / "nuclei.tif").start()) as page:
        open_image(page, "nuclei")
        page.get_by_role("tab", name="Find").click()
        page.get_by_role("radiogroup", name="Cells of the stack").get_by_label("In 3-D").check()
        page.get_by_label("Planes lie apart by").fill("2")
        page.get_by_label("Planes lie apart by").press("Enter")
        assert page.get_by_role("button", name="Only in sight").is_disabled()
        page.get_by_role("button", name="Find cells in this stack").click()
        wait(page, f"{SESSION}.jobs.value.at(-1)?.state === 'done' && {SESSION}.image.value.volume")
        page.evaluate(f"{SESSION}.setZ(7)")
        wait(page, f"{SESSION}.objects.rows().length > 2")
        rows = f"Object.fromEntries({SESSION}.objects.rows().map((cell) => [cell.id, cell.area]))"
        here = page.evaluate(rows)
        page.evaluate(f"{SESSION}.setZ(8)")
        wait(page, f"{SESSION}.plane.value === 8 && {SESSION}.objects.rows().length > 2")
        next_ = page.evaluate(rows)
        both = [i for i in here if i in next_]
        assert len(both) > 2
        largest = max(both, key=lambda i: next_[i])
        page.evaluate(f"{SESSION}.select([{largest}])")
        page.evaluate(f"{SESSION}.setZ(7)")
        wait(page, f"{SESSION}.plane.value === 7 && {SESSION}.objects.rows().length > 2")
        assert page.evaluate(f"[...{SESSION}.selection.value]") == [int(largest)]
        page.keyboard.press("Delete")
        wait(page, f"{SESSION}.objects.get({largest}) === undefined")
        page.evaluate(f"{SESSION}.setZ(8)")
        wait(page, f"{SESSION}.plane.value === 8 && {SESSION}.objects.rows().length > 1")
        assert page.evaluate(f"{SESSION}.objects.get({largest}) === undefined")
        # another one is cut between planes, and joined again with what goes on behind
        one = next(i for i in both if i != largest)
        page.evaluate(f"{SESSION}.select([{one}])")
        page.keyboard.press("Shift+X")
        wait(page, f"{SESSION}.objects.get({one}) === undefined")
        page.evaluate(f"{SESSION}.setZ(7)")
        wait(page, f"{SESSION}.plane.value === 7 && {SESSION}.objects.get({one}) !== undefined")
        page.evaluate(f"{SESSION}.select([{one}])")
        page.evaluate(f"{SESSION}.setZ(8)")
        page.get_by_text("1 selected, in other planes").wait_for()
        new = page.evaluate(f"{SESSION}.objects.rows().map(({{ id }}) => id)")
        new = next(i for i in new if str(i) not in next_)
        page.evaluate(f"{SESSION}.select([{new}], 'add')")
        page.keyboard.press("Shift+M")
        page.evaluate(f"{SESSION}.setZ(7)")
        wait(page, f"{SESSION}.plane.value === 7 && {SESSION}.objects.get({new}) !== undefined")
        # drawn first and last, joined, and filled between
        drawn = []
        for z in (12, 15):
            page.evaluate(f"{SESSION}.setZ({z})")
            wait(page, f"{SESSION}.plane.value === {z} && {SESSION}.objects.loaded.value")
            page.evaluate(f"{SESSION}.select([])")
            page.keyboard.press("b")
            page.mouse.click(300, 672)
            wait(page, f"{SESSION}.selection.value.size === 1")
            drawn.append(page.evaluate(f"[...{SESSION}.selection.value][0]"))
        page.evaluate(f"{SESSION}.select({drawn})")
        page.keyboard.press("Shift+M")
        page.keyboard.press("Shift+F")
        page.get_by_role("tab", name="View").click()
        page.get_by_label("Show the stack from the side").check()
        side = page.get_by_role("img", name="From the front")
        for _ in range(100):  # until it is drawn
            if side.evaluate(
                "c => c.width > 99 && c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data[3]"
            ):
                break
            page.wait_for_timeout(100)
        else:
            raise AssertionError("the side view stays empty")
        # it follows what the view is set to
        for change in ("setStyle({ visible: false })", "setChannel(0, { high: 300 })"):
            before = side.evaluate("c => c.toDataURL()")
            page.evaluate(f"{SESSION}.{change}")
            for _ in range(50):
                if side.evaluate("c => c.toDataURL()") != before:
                    break
                page.wait_for_timeout(100)
            else:
                raise AssertionError(f"the side view does not follow {change}")
        box = side.bounding_box()
        side.click(position={"x": box["width"] / 2, "y": box["height"] * 2.5 / 16})
        wait(page, f"{SESSION}.plane.value === 2")
        page.evaluate(f"{SESSION}.setZ(13)")
        wait(page, f"{SESSION}.plane.value === 13 && {SESSION}.objects.get({drawn[1]}) !== undefined")
