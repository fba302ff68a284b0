import pytest

from latentkit.course.master import MasterError, quiz, read_master, read_masters


def rewrite(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_reads_roles_regions_and_lines(master):
    assert (master.lab, master.repository) == ("99", "https://github.com/someone/somewhere")
    assert [cell.role for cell in master.cells if cell.role] == ["exercise", "check", "solution", "facts"]
    exercise, check = (next(cell for cell in master.cells if cell.role == role) for role in ("exercise", "check"))
    assert (exercise.name, exercise.points) == (check.name, check.points) == ("parity", 2)
    assert master.path.read_text().splitlines()[exercise.line - 1] == '# %% exercise="parity" points=2'
    assert exercise.open.endswith('"""bits [b, n] -> [b, n]."""\n    raise NotImplementedError("exercise \'parity\'")')
    assert exercise.solved.endswith('"""\n    prefix_sums = bits.cumsum(1)\n    return prefix_sums % 2')
    assert exercise.solutions == ["    prefix_sums = bits.cumsum(1)\n    return prefix_sums % 2\n"]
    assert check.open == 'lab.check("parity")'
    assert check.solved.startswith('lab.check("parity")\nassert')


def test_ids_are_unique_and_do_not_move(master):
    ids = [cell.id for cell in master.cells]
    assert len(set(ids)) == len(ids)
    rewrite(master.path, "# %%\nimport torch\n", "# %%\nimport torch\n\n# %%\nimport math\n\n# %%\nimport torch\n")
    now = [cell.id for cell in read_master(master.path).cells]
    assert [id for id in now if id in ids] == ids
    assert len(set(now)) == len(ids) + 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("# %% facts", "# %% fact", "99_fixture.py:61: unknown option on a code cell: fact"),
        ("# %% [markdown] solution", "# %% [markdown] facts", "unknown option on a markdown cell: facts"),
        ("points=2", 'point="2"', "unknown option on a code cell: point"),
        ('# %% check="parity" points=2', '# %% check="parity"', "check 'parity' does not match the exercise above"),
        ('# %% check="parity" points=2', "# %%", "HIDDEN TESTS has no place in this cell"),
        ("    ### END SOLUTION\n", "", "a ### BEGIN without its ### END"),
        ("### BEGIN SOLUTION", "### BEGIN SOLUTIONS", "or one that is misspelt"),
        ('@lab.exercise("parity")', '@lab.exercise("party")', 'does not hold @lab.exercise("parity")'),
        ('lab.check("parity")', 'lab.check("party")', 'does not hold lab.check("parity")'),
        ("# %% [markdown]\n# # Lab", "import torch\n# %% [markdown]\n# # Lab", "begins with the '# %% [markdown]'"),
    ],
)
def test_a_malformed_master_says_where(master, old, new, message):
    rewrite(master.path, old, new)
    with pytest.raises(MasterError) as error:
        read_master(master.path)
    assert message in str(error.value)
    assert str(error.value).startswith("99_fixture.py:")


def test_an_exercise_needs_a_check(master):
    text = master.path.read_text()
    start = text.index('# %% check="parity"')
    master.path.write_text(text[:start] + text[text.index("# %% [markdown]\n# <details>") :])
    with pytest.raises(MasterError, match="exercise 'parity' has no check below it"):
        read_master(master.path)


def test_a_solution_is_needed(master):
    text = master.path.read_text()
    for mark in ("    ### BEGIN SOLUTION\n", "    ### END SOLUTION\n"):
        text = text.replace(mark, "")
    master.path.write_text(text)
    with pytest.raises(MasterError, match="exercise 'parity' has no solution"):
        read_master(master.path)


def test_markdown_quotes(master):
    card = master.fill(master.cells[0], images="pictures")
    assert "reproduced, with an accuracy of\n0.99 (0.98 to 1) over 3 seeds." in card
    assert "not yet measured CPU seconds" in card
    assert card.endswith(
        "[![Open in Colab](pictures/colab-badge.svg)]"
        "(https://colab.research.google.com/github/someone/somewhere/blob/main/labs/99_fixture.ipynb)"
    )


@pytest.mark.parametrize(
    ("quote", "text"),
    [
        ("{{ claim parity-wall accuracy min }}", "0.98"),
        ("{{ claim parity-wall parameters }}", "384"),
        ("{{ cliam parity-wall accuracy }}", "99_fixture.py:8: {{ cliam parity-wall accuracy }} is unknown"),
        ("{{ claim parity-wall speed }}", "99_fixture.py:8: {{ claim parity-wall speed }}: parity-wall measures acc"),
        ("{{ claim no-such-claim speed }}", "No such file"),
        ("{{ claim parity-wall }}", "99_fixture.py:8: {{ claim parity-wall }}: "),
        (r"$\frac{{a}}{b}$", r"$\frac{{a}}{b}$"),
    ],
)
def test_a_quote_gives_a_text_or_says_where_it_fails(master, quote, text):
    rewrite(master.path, "{{ badge }}", quote)
    try:
        given = read_master(master.path).fill(read_master(master.path).cells[0], images="images")
    except MasterError as error:
        given = str(error)
    assert text in given


def test_read_masters_by_name(repository):
    for names in (None, ["99"], ["99_fixture"]):
        assert [master.lab for master in read_masters(repository, names)] == ["99"]
    with pytest.raises(MasterError, match="no lab 98; there are 99_fixture"):
        read_masters(repository, ["98"])


def test_the_quiz_folds_each_choice(master):
    text = quiz(master.path.with_name("99_quiz.toml"))
    assert text.count("<details>") == text.count("</details>") == 15
    assert text.count("**Right.**") == 5
    assert "<details><summary>A. <code>0</code></summary>\n\n**Right.** A power of two is even.\n\n</details>" in text
    assert "It depends on &lt;b&gt;n&lt;/b&gt;" in text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('[[question]]\ntext = "Question 5', '[[questions]]\ntext = "Question 5', "4 questions; a self-quiz has five"),
        ('why = "A power of two is even."', 'why = " "', "question 1: a choice has a text"),
        ("correct = false, ", "", "question 1: a choice has a text"),
        ("correct = false", "correct = true", "exactly one of them correct"),
        ("correct = true", "correct = false", "exactly one of them correct"),
        ("`1`", "$1$", "maths does not render"),
        ("[[question]]\n", '[[question]]\nhint = "x"\n', "and nothing else"),
    ],
)
def test_a_malformed_quiz_says_what_is_wrong(master, old, new, message):
    path = master.path.with_name("99_quiz.toml")
    rewrite(path, old, new)
    with pytest.raises(MasterError, match=message):
        quiz(path)
