"""Where attachments are kept, as the settings say."""

from pathlib import Path

from greenroom.settings import Settings, SettingsError
from greenroom.storage.blobs import Blobs, in_s3, on_disk


def blobs_of(settings: Settings, directory: Path) -> Blobs:
    """In the bucket of S3_BUCKET, or in the data directory. Raises: OSError, SettingsError."""
    if settings.s3_bucket is None:
        return on_disk(directory / "blobs")
    if settings.s3_access_key_id is None or settings.s3_secret_access_key is None:
        raise SettingsError(
            f"S3_BUCKET is {settings.s3_bucket!r}: it needs S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY too. "
            "Example: S3_ACCESS_KEY_ID=AKIA…"
        )
    return in_s3(
        settings.s3_bucket,
        endpoint=settings.s3_endpoint,
        region=settings.s3_region,
        access_key=settings.s3_access_key_id.get_secret_value(),
        secret_key=settings.s3_secret_access_key.get_secret_value(),
    )
