"""All users, of which locust's web page offers a choice.

``locust -f loadtests/all.py --class-picker --web-host 127.0.0.1 -H http://127.0.0.1:9090``, then http://127.0.0.1:8089
"""

from loadtests.agent import CodingAgent as CodingAgent
from loadtests.disconnect_storm import Leaver as Leaver
from loadtests.mixed import LongUser as LongUser
from loadtests.mixed import MediumUser as MediumUser
from loadtests.mixed import ShortUser as ShortUser
from loadtests.overload import Crowd as Crowd
from loadtests.slow_readers import Slow as Slow
from loadtests.steady import SteadyCaller as SteadyCaller
from loadtests.tenants import KeyedTenant as KeyedTenant
from loadtests.users import Caller


class ChatCaller(Caller):
    api = label = "chat"


class MessagesCaller(Caller):
    api = label = "messages"


class ResponsesCaller(Caller):
    api = label = "responses"
