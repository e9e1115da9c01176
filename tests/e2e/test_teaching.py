"""A round of teaching, from the corrected image to the model in use and the mistakes that it still makes."""

from .test_first_minutes import SESSION, found_cells_to_teach, wait


def test_a_round_is_taught_watched_and_used(serve, tab):
    job = f"{SESSION}.jobs.value.findLast((job) => job.kind === 'train')"
    with tab(serve("--sample").start()) as page:
        found_cells_to_teach(page)
        teach = page.get_by_role("button", name="Train a round")
        assert teach.is_disabled(), "nothing to learn from yet"
        page.get_by_role("button", name="Mark this image as done").click()
        page.get_by_text("1 corrected image to learn from").wait_for()
        assert teach.is_enabled()
        # as the button does, but short
        page.evaluate(f"{SESSION}.train({{ steps: 20, batch_size: 1, crop: 64 }})")
        page.get_by_role("img", name="Score on held-back pictures").wait_for(timeout=300_000)
        assert page.get_by_role("button", name="Stop and keep the best").is_visible()
        wait(page, f"!['queued', 'running'].includes({job}.state)", attempts=4000)
        assert page.evaluate(f"{job}.state") == "done", page.evaluate(f"{job}.error")
        table = page.locator("table.rounds tbody tr")
        table.first.wait_for()
        assert table.count() == 1
        assert (
            page.get_by_role("list", name="What the last round changed").get_by_role("listitem").count() >= 1
        )
        # whatever the round gave, the person decides which model is used, and can go back
        use = table.first.get_by_role("button", name="Use")
        if use.count():
            use.click()
        table.first.get_by_text("in use").wait_for()
        page.get_by_role("button", name="Go back to").click()
        table.first.get_by_role("button", name="Use").wait_for()
        # its own cells are right by definition: the model in use makes no mistake on them
        page.get_by_role("button", name="Score it on my images").click()
        page.get_by_text("Score on your corrected images").wait_for(timeout=300_000)
        assert (
            page.evaluate(f"{SESSION}.jobs.value.findLast((job) => job.kind === 'evaluate').state") == "done"
        )
