"""How difficult the images are: three presets, defined by numbers and frozen."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Optics = Literal["phase", "brightfield"]
PresetName = Literal["easy", "moderate", "hard"]
# cells and debris are counted on a field of this many pixels, 333 um squared
REFERENCE_AREA_PX = 512 * 512


class Preset(BaseModel):
    """How difficult the images are, in numbers.

    The first five are what a preset promises; a test measures them on what is drawn.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cells_per_field: int = Field(description="at the first frame, on 512 x 512 pixels")
    share_touching: float = Field(description="of the cells, touching another; 0..1")
    step_diameters: float = Field(description="median step per frame of a moving cell")
    contrast_to_noise: float = Field(
        description="standard deviation of the noiseless image within cells over the noise, "
        "median over fields"
    )
    debris_per_field: int = Field(description="particles that never move, on 512 x 512 pixels")

    sociable_share: float = Field(
        description="of the cells, put beside another; more touch by chance"
    )
    phase_contrast: float = Field(
        description="standard deviation within cells at full contrast, as drawn, of the light"
    )
    bright_field_contrast: float = Field(description="the same for bright-field optics")
    cell_diameter_px: float = Field(44.0, description="of the disk of the median spread area")
    area_spread: float = Field(0.25, description="of the log of the spread area")
    elongation: float = Field(1.8, description="median long over short axis")
    irregularity: float = Field(0.2, description="of the second harmonic of the log radius")
    protrusion: float = Field(0.6, description="spread of their length, in radii of the body")
    reshaping: float = Field(0.12, description="share of the outline that a frame renews")
    turn_rad: float = Field(0.3, description="change of direction per frame, one sigma")
    stopping_share: float = Field(description="of the cells, standing still from some frame on")
    resting_share: float = Field(description="of the cells, that never move")
    divisions_per_frame: float = Field(0.008, description="chance of a cell to begin to divide")
    deaths_per_frame: float = Field(0.003, description="chance of a cell to begin to die")

    phase_rad: float = Field(description="optical path of a typical cell at its centre")
    depth_spread: float = Field(description="of the log of the optical path, from cell to cell")
    granularity: float = Field(description="strength of a granule, rad")
    granularity_spread: float = Field(description="of its log, from cell to cell")
    granule_jitter: float = Field(0.03, description="of the cell's radius per frame, one sigma")
    relief_rad: float = Field(description="optical path of a nucleus against its surroundings")

    texture_share: float = Field(description="of the field, covered by a rough static coating")
    texture_rad: float = Field(description="strength of that coating")
    blobs_per_field: int = Field(description="out-of-focus shadows in the light path")
    blob_depth: float = Field(description="of such a shadow, of the light")
    contrast_spread: float = Field(
        description="of the log of the optics' contrast, from field to field: the meniscus"
    )
    vignetting: float = Field(description="loss of light towards the corners")
    drift_px: float = Field(description="of the stage per frame and axis, one sigma")

    nuclear_stain_spread: float = Field(description="of the log of the stain's brightness")
    cell_stain_spread: float = Field(description="of the log of the stain's brightness")
    stain_to_noise: float = Field(description="a typical stained pixel over its noise")


PRESETS: dict[PresetName, Preset] = {
    "easy": Preset(
        cells_per_field=28,
        share_touching=0.35,
        step_diameters=0.1,
        contrast_to_noise=8,
        debris_per_field=6,
        sociable_share=0.15,
        phase_contrast=0.3,
        bright_field_contrast=0.085,
        stopping_share=0.05,
        resting_share=0.0,
        phase_rad=0.3,
        depth_spread=0.2,
        granularity=0.15,
        granularity_spread=0.3,
        relief_rad=0.2,
        texture_share=0.0,
        texture_rad=0.0,
        blobs_per_field=4,
        blob_depth=0.04,
        contrast_spread=0.1,
        vignetting=0.08,
        drift_px=0.03,
        nuclear_stain_spread=0.08,
        cell_stain_spread=0.1,
        stain_to_noise=40,
    ),
    "moderate": Preset(
        cells_per_field=42,
        share_touching=0.6,
        step_diameters=0.08,
        contrast_to_noise=4.5,
        debris_per_field=34,
        sociable_share=0.35,
        phase_contrast=0.42,
        bright_field_contrast=0.148,
        stopping_share=0.1,
        resting_share=0.08,
        phase_rad=0.2,
        depth_spread=0.4,
        granularity=0.12,
        granularity_spread=0.7,
        relief_rad=0.22,
        texture_share=0.01,
        texture_rad=0.08,
        blobs_per_field=30,
        blob_depth=0.18,
        contrast_spread=0.4,
        vignetting=0.15,
        drift_px=0.05,
        nuclear_stain_spread=0.08,
        cell_stain_spread=0.12,
        stain_to_noise=25,
    ),
    "hard": Preset(
        cells_per_field=65,
        share_touching=0.85,
        step_diameters=0.05,
        contrast_to_noise=2.5,
        debris_per_field=45,
        sociable_share=0.6,
        phase_contrast=0.39,
        bright_field_contrast=0.21,
        stopping_share=0.15,
        resting_share=0.15,
        phase_rad=0.18,
        depth_spread=0.5,
        granularity=0.1,
        granularity_spread=0.8,
        relief_rad=0.15,
        texture_share=0.06,
        texture_rad=0.08,
        blobs_per_field=40,
        blob_depth=0.22,
        contrast_spread=0.6,
        vignetting=0.25,
        drift_px=0.3,
        nuclear_stain_spread=0.2,
        cell_stain_spread=0.25,
        stain_to_noise=15,
    ),
}
