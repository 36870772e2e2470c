"""Addresses of films on other machines (s3://, https://, hf://, …), and what of them may be printed and stored."""

import hashlib
import re

ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
USER = re.compile(r"^([a-z][a-z0-9+.-]*://)[^/?]*@", re.IGNORECASE)
# parameters of signed addresses: of AWS, Google, Azure, CloudFront; another signature leads to the same film
SIGNING = re.compile(
    r"(x-(amz|goog)-.*|awsaccesskeyid|googleaccessid|signature|expires|key-pair-id|policy|sig|se|sp|sv|sr|st|spr|"
    r"sk[a-z]+|token|access_token)=?",
    re.IGNORECASE,
)


def is_address(text: str) -> bool:
    return ADDRESS.match(text) is not None


def without_secrets(address: str) -> str:
    """Without the user's name and password, and without what follows `?`, where signatures are."""
    return USER.sub(r"\1", address.partition("?")[0])


def identify(address: str) -> str:
    """What tells a film from others: its address without secrets, and a digest of the parameters that sign nothing."""
    parameters = [word for word in address.partition("?")[2].split("&") if word]
    kept = [word for word in parameters if not SIGNING.fullmatch(word.partition("=")[0])]
    digest = hashlib.sha256("&".join(kept).encode()).hexdigest()[:16] if kept else ""
    return f"{without_secrets(address)} {digest}".strip()


def hide_secrets(text: str, address: str) -> str:
    """A library's message without what `without_secrets` leaves out, also of the addresses that redirections led to."""
    text = text.replace(address, without_secrets(address))
    return re.sub(r"(://)[^/\s'\"]*@", r"\1", re.sub(r"\?[^\s'\"<>)]*", "", text))
