"""Every column of every table, declared once: its name, dtype, unit and meaning.

The tables and where they stand in a plate are those of Fractal and ngio; ``docs/tables.md`` is made
from here by :func:`hcs.tables.declare.describe`.
"""

from __future__ import annotations

from hcs.tables.declare import Column, Table

_LABEL = Column("label", "int64", "", "Id of the object, unique over time within its field")
_TIME = (
    Column("time_index", "int64", "", "Frame, from 0"),
    Column("t_second", "float64", "second", "Time since frame 0; missing without an interval"),
)
_PARENT = Column("parent_label", "int64", "", "Id of the mother; 0 where no division made it")
_DISPLACEMENT = (
    Column(
        "displacement_y_pixel",
        "float64",
        "pixel",
        "Mean optical flow since the frame before; of frame 0, until frame 1",
    ),
    Column("displacement_x_pixel", "float64", "pixel", "The same along x"),
    Column("displacement_pixel", "float64", "pixel", "Mean length of this flow in the object"),
)
_UNCERTAINTY = Column(
    "uncertainty",
    "float64",
    "",
    "Mean spread of the network's probability of foreground over flips and rotations, 0 to 0.5; "
    "missing where it was not asked for, or no network found the object",
)
_SHAPE = (
    Column("area", "float64", "square micrometer", "Area; missing without a pixel size"),
    Column("perimeter", "float64", "micrometer", "Length of the outline (4-connected)"),
    Column(
        "axis_major_length",
        "float64",
        "micrometer",
        "Long axis of the ellipse of equal second moments",
    ),
    Column("axis_minor_length", "float64", "micrometer", "Short axis of the same ellipse"),
    Column("eccentricity", "float64", "", "Of the same ellipse: 0 a circle, towards 1 a line"),
    Column("solidity", "float64", "", "Area over the area of the convex hull"),
    Column("extent", "float64", "", "Area over the area of the bounding box"),
    Column(
        "form_factor",
        "float64",
        "",
        "4 pi area / perimeter^2: 1 a disc, towards 0 a ragged outline",
    ),
)
_INTENSITY = (
    Column("intensity_mean-<channel>", "float64", "grey level", "Mean over the object's pixels"),
    Column("intensity_sd-<channel>", "float64", "grey level", "Standard deviation over them"),
    Column("intensity_min-<channel>", "float64", "grey level", "Smallest of them"),
    Column("intensity_max-<channel>", "float64", "grey level", "Largest of them"),
)
_BOX = tuple(
    Column(f"{part}{axis}_micrometer", "float64", "micrometer", f"{word} {axis}")
    for part, word in (("", "Start of the box along"), ("len_", "Length of the box along"))
    for axis in "xyz"
)
_WELL = (
    Column("row", "string", "", "Row of the plate"),
    Column("column", "string", "", "Column of the plate"),
    Column("path_in_well", "string", "", "The well's first field"),
)
_WELL_NAME = Column("well", "string", "", "Row and column as people write them: B03")

OBJECTS = Table(
    name="<label>_objects",
    where="field",
    kind="generic_table",
    index="object_id",
    rows="an object in a frame",
    columns=(
        Column("object_id", "string", "", "label and time_index, joined by an underscore"),
        _LABEL,
        *_TIME,
        Column("y_micrometer", "float64", "micrometer", "Centroid from the field's upper edge"),
        Column("x_micrometer", "float64", "micrometer", "Centroid from the field's left edge"),
        Column("y_pixel", "float64", "pixel", "Centroid, the middle of the first pixel is 0"),
        Column("x_pixel", "float64", "pixel", "The same along x"),
        Column("bbox_y_start_pixel", "int64", "pixel", "First row of the bounding box"),
        Column("bbox_x_start_pixel", "int64", "pixel", "First column of the bounding box"),
        Column("bbox_y_stop_pixel", "int64", "pixel", "Row after its last"),
        Column("bbox_x_stop_pixel", "int64", "pixel", "Column after its last"),
        Column("touches_border", "bool", "", "Whether the field's edge may cut the object"),
        Column("area_pixel", "int64", "pixel", "Number of pixels"),
        *_SHAPE,
        Column(
            "orientation",
            "float64",
            "radian",
            "From the y axis to the long axis, counter-clockwise, -pi/2 to pi/2",
        ),
        *_DISPLACEMENT,
        _PARENT,
        _UNCERTAINTY,
        *_INTENSITY,
    ),
)
MOTION = Table(
    name="<label>_motion",
    where="field",
    kind="generic_table",
    index="object_id",
    rows="an object in a frame",
    columns=(OBJECTS.columns[0], _LABEL, _TIME[0], *_DISPLACEMENT, _PARENT, _UNCERTAINTY),
)
FEATURES = Table(
    name="<label>_features",
    where="field",
    kind="feature_table",
    index="label",
    rows="an id: the summary of its track; shape and intensity are means over its frames",
    columns=(
        _LABEL,
        Column("n_frames", "int64", "", "Frames in which the object was found"),
        Column("first_frame", "int64", "", "time_index of the first of them"),
        Column("last_frame", "int64", "", "time_index of the last of them"),
        _PARENT,
        Column("area_pixel", "float64", "pixel", "Number of pixels"),
        *_SHAPE,
        Column("path_length", "float64", "micrometer", "Sum of the steps of the centroid"),
        Column("net_displacement", "float64", "micrometer", "From the first centroid to the last"),
        Column(
            "speed_mean",
            "float64",
            "micrometer / hour",
            "Path length over its duration; missing for a single frame",
        ),
        Column(
            "displacement_pixel", "float64", "pixel", "Mean length of the flow within the object"
        ),
        *(c for c in _INTENSITY if "mean" in c.name),
    ),
)
WELL_ROIS = Table(
    name="well_ROI_table",
    where="field",
    kind="roi_table",
    index="FieldIndex",
    rows="the whole image",
    columns=(Column("FieldIndex", "string", "", "Name of the box"), *_BOX),
)
FOV_ROIS = Table(
    name="FOV_ROI_table",
    where="field",
    kind="roi_table",
    index="FieldIndex",
    rows="a field of view; here the whole image",
    columns=WELL_ROIS.columns,
)
MASKING_ROIS = Table(
    name="<label>_masking_ROI_table",
    where="field",
    kind="masking_roi_table",
    index="label",
    rows="an id: the box that holds it in all its frames",
    columns=(_LABEL, *_BOX),
)
_PIXEL_FEATURES = {
    "entropy": ("bit", "entropy of the 7x7 pixels around"),
    "gradient": ("", "ln(1 + mean gradient magnitude) of the 7x7 pixels around"),
    "contrast": ("", "ln(1 + difference to the background's grey level)"),
}
SSL_FRAMES = Table(
    name="ssl_cells_frames",
    where="field",
    kind="generic_table",
    index="",
    rows="a frame, with the one before; the first with the one after. Grey levels are 0 to 255 "
    "on the field's scale (of a pooled model: its own); what `thresholds: paper` learns later is "
    "missing",
    columns=(
        *_TIME,
        Column("reference", "string", "", "The frame it was compared with: previous or next"),
        Column("blank", "bool", "", "One grey level only: blank, or its chunk is missing"),
        Column("noise", "float64", "grey level", "Standard deviation of the noise"),
        Column("blur_pixel", "float64", "pixel", "Sigma of the Gaussian that answers it; 0 none"),
        Column("drift_y_pixel", "float64", "pixel", "Shift of the frame since its reference"),
        Column("drift_x_pixel", "float64", "pixel", "The same along x"),
        Column(
            "change_threshold", "float64", "grey level", "Above it a pixel may label itself cell"
        ),
        Column("displacement_threshold_pixel", "float64", "pixel", "The same of the flow"),
        Column("n_cell", "Int64", "", "Pixels that labelled themselves cell"),
        Column("n_background", "Int64", "", "Pixels that labelled themselves background"),
        *(
            Column(
                f"separability_{name}",
                "float64",
                "",
                f"Of the two by {name}: area under the ROC curve",
            )
            for name in _PIXEL_FEATURES
        ),
        Column("separability_change", "float64", "", "By change, of the mask found and the rest"),
        Column("moving_area_pixel", "float64", "pixel", "What moves, for `thresholds: paper` only"),
        Column(
            "separable",
            "bool",
            "",
            "Whether this pair can tell cells from background; paper: whether it is not blank",
        ),
        Column("empty", "bool", "", "What the pair calls cells looks like the field's background"),
        Column(
            "model",
            "string",
            "",
            "Whose model labelled the frame: own, carried (the field's), pooled (the plate's), "
            "none",
        ),
        Column("prior", "float64", "", "Of that model: share of cells"),
        *(
            Column(f"{group}_{moment}_{name}", "float64", unit, f"{word} {group} pixels: {meaning}")
            for group in ("cell", "background")
            for moment, word in (("mean", "Mean over"), ("sd", "Standard deviation over"))
            for name, (unit, meaning) in _PIXEL_FEATURES.items()
        ),
        Column("typical_area_pixel", "float64", "pixel", "Of that model: area of its objects"),
        Column("min_area_pixel", "float64", "pixel", "Smaller objects were dropped"),
    ),
)
WELL_FRAMES = Table(
    name="well_frames",
    where="plate",
    kind="generic_table",
    index="",
    rows="a well, acquisition, label image and frame",
    columns=(
        *_WELL,
        _WELL_NAME,
        Column("acquisition", "Int64", "", "Missing where the plate names none"),
        Column("label_image", "string", "", "Name of the label image"),
        *_TIME,
        Column("n_fields", "int64", "", "Fields that the numbers come from"),
        Column("n_objects", "Int64", "", "Objects in all these fields"),
        Column("confluence", "float64", "", "Share of the fields' area that objects cover"),
        Column("area_mean", "float64", "square micrometer", "Mean area of the objects"),
        Column("n_linked", "Int64", "", "Objects that were there in the frame before, too"),
        Column(
            "speed_mean",
            "float64",
            "micrometer / hour",
            "Mean speed of these since the frame before",
        ),
        Column("n_new", "Int64", "", "Ids seen for the first time"),
        Column("n_divisions", "Int64", "", "Mothers of the new ids"),
        Column("qc_pass", "bool", "", "Whether every field passed quality control"),
        Column(
            "qc_reason", "string", "", "Why not; reasons of several fields joined by a semicolon"
        ),
        Column(
            "model",
            "string",
            "",
            "Whose model labelled it: own, carried, pooled, none, as in `ssl_cells_frames`; "
            "those of several fields joined by a semicolon; missing for segmenters that have none",
        ),
        Column("uncertainty_mean", "float64", "", "Mean of the objects; missing without networks"),
    ),
)
WELLS = Table(
    name="wells",
    where="plate",
    kind="generic_table",
    index="",
    rows="a well; of one that failed, everything but its state is missing",
    columns=(
        *_WELL,
        _WELL_NAME,
        Column("state", "string", "", "done, or how far the well came and why not further"),
        Column("n_frames", "Int64", "", "Frames of its longest field"),
        Column(
            "n_objects_first-<label>", "Int64", "", "Objects in the first frame that has an answer"
        ),
        Column("n_objects_last-<label>", "Int64", "", "Objects in the last frame that has one"),
        Column("n_objects_mean-<label>", "float64", "", "Mean over the frames"),
        Column("n_tracks-<label>", "Int64", "", "Ids over all fields and frames"),
        Column("n_divisions-<label>", "Int64", "", "Divisions over all fields and frames"),
        Column(
            "confluence_first-<label>",
            "float64",
            "",
            "Covered share of the first frame that has an answer",
        ),
        Column(
            "confluence_last-<label>", "float64", "", "Covered share of the last frame that has one"
        ),
        Column("confluence_mean-<label>", "float64", "", "Mean over the frames"),
        Column(
            "growth_count-<label>",
            "float64",
            "doublings / hour",
            "Slope of log2 of the number of objects over time (least squares)",
        ),
        Column(
            "growth_confluence-<label>", "float64", "doublings / hour", "The same of the confluence"
        ),
        Column("area_mean-<label>", "float64", "square micrometer", "Mean area of an object"),
        Column(
            "speed_mean-<label>",
            "float64",
            "micrometer / hour",
            "Mean speed of an object between frames",
        ),
        Column(
            "qc_pass_share-<label>",
            "float64",
            "",
            "Share of the frames that passed quality control",
        ),
        Column(
            "own_model_share-<label>",
            "float64",
            "",
            "Share of the frames labelled by their own model, in every field; missing for "
            "segmenters that have none",
        ),
        Column(
            "uncertainty_mean-<label>",
            "float64",
            "",
            "Mean of the objects of all frames; missing without networks",
        ),
    ),
    free="the columns of condition",
)
CONDITION = Table(
    name="condition",
    where="plate",
    kind="condition_table",
    index="",
    rows="a well, read from the user's plate map",
    columns=_WELL,
    free="drug, concentration, control or whatever the plate map has",
)
PLATE_QC = Table(
    name="plate_qc",
    where="plate",
    kind="generic_table",
    index="",
    rows="a measure of the plate's quality",
    columns=(
        Column("metric", "string", "", "Name of the measure"),
        Column("value", "float64", "", "Its value"),
        Column("ci_low", "float64", "", "Lower end of its confidence interval"),
        Column("ci_high", "float64", "", "Upper end"),
    ),
)
QUARANTINE = Table(
    name="quarantine",
    where="plate",
    kind="generic_table",
    index="",
    rows="a well that failed or was flagged",
    columns=(
        _WELL_NAME,
        Column("cause", "string", "", "Kind of error in words; quality of a well that was flagged"),
        Column("message", "string", "", "What is wrong, with numbers"),
        Column("hint", "string", "", "What to do about it"),
    ),
)
TABLES = (
    WELL_ROIS,
    FOV_ROIS,
    MASKING_ROIS,
    OBJECTS,
    MOTION,
    FEATURES,
    SSL_FRAMES,
    WELL_FRAMES,
    WELLS,
    CONDITION,
    PLATE_QC,
    QUARANTINE,
)
