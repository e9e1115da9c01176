"""Is the model as good as I am? Places are labelled again, and compared."""

from .test_first_minutes import SESSION, found_cells_to_teach, wait


def test_places_are_labelled_again_and_compared(serve, tab):
    with tab(serve("--sample").start()) as page:
        found_cells_to_teach(page)
        pick = page.get_by_role("button", name="Pick 6 places to label again")
        assert pick.is_disabled(), "nothing is done yet"
        page.get_by_role("button", name="Mark this image as done").click()
        pick.click()
        wait(page, f"{SESSION}.images.value.some((image) => image.again)")
        compare = page.get_by_role("button", name="Compare", exact=True)
        assert compare.is_disabled(), "no place is labelled again yet"
        places = page.get_by_role("group", name="Places to label again").get_by_role("button")
        assert places.count() >= 2
        places.first.click()
        wait(page, f"{SESSION}.image.value?.again && {SESSION}.picture.value !== null")
        assert page.evaluate(f"{SESSION}.objects.counts.value[0]") == 0, "the first labels are not shown"
        page.get_by_role("tab", name="Find").click()
        page.get_by_role("button", name="Find cells", exact=True).click()
        wait(page, f"{SESSION}.objects.counts.value[0] > 0", attempts=1800)
        page.get_by_role("tab", name="Teach").click()
        page.get_by_role("button", name="Mark this image as done").click()
        compare.click()
        wait(
            page,
            f"{SESSION}.jobs.value.some((job) => job.kind === 'agreement' && job.state === 'done')",
            1800,
        )
        answer = page.get_by_role("status").filter(has_text="between the two labellings")
        answer.wait_for()
        assert "1 image decide nothing" in answer.inner_text()
        # it is no image to learn from
        page.get_by_text("1 corrected image to learn from").wait_for()
