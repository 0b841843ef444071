"""The list of changes that no test may overlook fits the package and the tests as they are."""

from scripts.mutants import missing, read_mutants


def test_every_mutant_has_its_text_once_and_its_test():
    mutants = read_mutants()
    assert [problem for problem in map(missing, mutants) if problem is not None] == []
    assert all(mutant.old != mutant.new and mutant.felt for mutant in mutants)
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in mutants}) == len(mutants)
