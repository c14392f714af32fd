"""The committed public document is what the services serve."""

from kalpi_local.openapi import document_path, public_document, render
from tests.support.routes import TABLE


def test_the_committed_document_is_the_one_the_services_make() -> None:
    assert document_path().read_text() == render(public_document()), "run `make openapi`"


def test_it_shows_no_private_path_and_asks_for_credentials_where_the_edge_does() -> None:
    for path, item in public_document()["paths"].items():
        route = TABLE.of(path.replace("{", "").replace("}", "").encode())
        assert route is not None, path
        for operation in item.values():
            assert ("security" in operation) == (route.access != "open"), path


def test_it_says_which_scope_each_call_takes() -> None:
    for path, item in public_document()["paths"].items():
        route = TABLE.of(path.replace("{", "").replace("}", "").encode())
        assert route is not None, path
        for method, operation in item.items():
            scope = route.scope_for(method.upper())
            taken = [scope] if scope is not None else []
            for scheme in operation.get("security", []):
                assert list(scheme.values()) == [taken], (method, path)
            assert operation.get("description", "").endswith(f"Scope: `{scope}`.") == bool(scope), (method, path)
