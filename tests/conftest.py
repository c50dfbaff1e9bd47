"""What all tests share."""

from collections.abc import Iterator

import pytest
import trustme


@pytest.fixture(scope="session", autouse=True)
def _one_authority_to_trust(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """httpx reads certifi's hundred authorities for every client it makes, which takes 40 ms, longer than most tests.
    Nothing here talks to anybody whom they vouch for: it gets one that vouches for nobody."""
    path = tmp_path_factory.mktemp("authority") / "nobody.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(path))
        yield
