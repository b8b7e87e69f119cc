from fairlead.contracts import errors
from fairlead.kit import failures


def test_each_error_comes_back_by_its_code() -> None:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.FairleadError):
            found = failures.of(kind.code, "said", 2.0)
            assert type(found) is kind
            assert (str(found), found.retry_after) == ("said", 2.0)
    assert type(failures.of("of-tomorrow", "said")) is errors.FairleadError
