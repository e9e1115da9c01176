"""Before torch is imported by any test here: on busy cores its waiting threads would take the time of those that work."""

from cellbrook.core.threads import calm_openmp

calm_openmp()
