"""Domain profiles: files that say what a flow must know of a domain, how private that is, and who may use it."""

from agentic_flywheel.profiles.briefing import Briefing, briefing, leaning
from agentic_flywheel.profiles.detection import context_type_of
from agentic_flywheel.profiles.injection import injected
from agentic_flywheel.profiles.profile import KINDS, ContextType, Privacy, Profile
from agentic_flywheel.profiles.reading import read_profile
from agentic_flywheel.profiles.watch import ProfileWatch

__all__ = [
    "KINDS",
    "Briefing",
    "ContextType",
    "Privacy",
    "Profile",
    "ProfileWatch",
    "briefing",
    "context_type_of",
    "injected",
    "leaning",
    "read_profile",
]
