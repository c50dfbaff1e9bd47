"""Error codes that a request can select, each with its HTTP status and message.

Z.ai documents the codes (https://docs.z.ai/api-reference/api-code), but the HTTP status only of some; limits of a plan
or an account have 429. Codes of three digits are HTTP statuses.
"""

from types import MappingProxyType
from typing import Final, NamedTuple

__all__ = ["REFUSALS", "SimulatedError"]


class SimulatedError(NamedTuple):
    status: int
    message: str


REFUSALS: Final = MappingProxyType(
    {
        "1000": SimulatedError(401, "Authentication Failed"),
        "1001": SimulatedError(401, "Header not received Authorization parameter, authentication failed"),
        "1002": SimulatedError(401, "Authorization token illegal, please confirm that it is sent correctly"),
        "1003": SimulatedError(401, "Authorization token expired"),
        "1004": SimulatedError(401, "Authorization token verification failed"),
        "1113": SimulatedError(429, "Insufficient balance or no resource package. Please recharge."),
        "1210": SimulatedError(400, "Invalid API parameter, please check the documentation"),
        "1211": SimulatedError(400, "Unknown Model, please check the model code."),
        "1213": SimulatedError(400, "A parameter is missing"),
        "1214": SimulatedError(400, "The messages parameter is illegal"),
        "1234": SimulatedError(500, "Network error, error id: sim-1, please contact customer service"),
        "1261": SimulatedError(400, "Prompt exceeds max length"),
        "1301": SimulatedError(400, "System detected potentially unsafe or sensitive content in input or generation"),
        "1302": SimulatedError(429, "Rate limit reached for requests"),
        "1303": SimulatedError(429, "The request frequency is too high"),
        "1304": SimulatedError(429, "The daily call limit has been reached"),
        "1305": SimulatedError(429, "The service may be temporarily overloaded, please try again later"),
        "1308": SimulatedError(429, "Usage limit reached for 5 hour. Your limit will reset at 2026-01-01 00:00:00"),
        "1309": SimulatedError(429, "Your plan has expired"),
        "1310": SimulatedError(429, "Weekly limit exhausted. Your limit will reset at 2026-01-01 00:00:00"),
        "1311": SimulatedError(429, "Your plan does not include this model"),
        "1312": SimulatedError(429, "This model is overloaded, please try another one"),
        "1313": SimulatedError(429, "Your usage is restricted by the fair use policy"),
        "401": SimulatedError(401, "Unauthorized"),
        "403": SimulatedError(403, "Forbidden"),
        "404": SimulatedError(404, "Not Found"),
        "426": SimulatedError(426, "client version outdated, please refresh"),
        "429": SimulatedError(429, "too many requests"),
        "500": SimulatedError(500, "Internal error"),
        "502": SimulatedError(502, "Bad gateway"),
        "503": SimulatedError(503, "Service unavailable"),
        "504": SimulatedError(504, "Gateway timeout"),
        "529": SimulatedError(529, "The server is overloaded"),
    }
)
