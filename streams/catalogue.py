"""Every projection there is: workers, replay, verify and the laws in the tests iterate over this table."""

from streams.annotators import ANNOTATORS_PROJECTION
from streams.diversity import DIVERSITY
from streams.projection import AnyProjection
from streams.review import REVIEW

PROJECTIONS: tuple[AnyProjection, ...] = (REVIEW, ANNOTATORS_PROJECTION, DIVERSITY)
PROJECTION_BY_NAME = {projection.name: projection for projection in PROJECTIONS}
