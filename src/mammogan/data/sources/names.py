"""Names that messages may quote, since no person bears them: ours, and the tables and columns of known sets."""

OWN_NAMES = ("file", "image_id", "patient_id", "laterality", "view", "density", "cancer", "age")
PATIENT_ALIASES = ("patient", "patientid", "patient_number", "patient_name", "subject", "subject_id")
SIDE_ALIASES = ("side", "breast", "lat", "imagelaterality", "image_laterality", "left_or_right", "leftright")

_LABELS = """
    site_id biopsy invasive birads implant machine_id difficult_negative_case path path_save
    bg class severity x y radius acr bi_rads mass micros distortion asymmetry
    breast_density abnormality abnormality_type mass_shape mass_margins calc_type calc_distribution assessment pathology
    subtlety classification subtype finding type view_position breast_birads width height split status synthetic
"""
_OTHERS = """
    prediction_id refnum patient_age acquisition_date file_name left_or_right_breast image_view abnormality_id
    image_file_path cropped_image_file_path roi_mask_file_path image_path file_path seriesdescription id1 number
    patient_id_status image_name breast_density_(acr) pathology_classification/_follow_up study_id series_id
    sop_instance_uid patient's_age filename fullpath original_name source_width source_height source_path source_sha256
"""
LABEL_COLUMNS = frozenset((*OWN_NAMES, *_LABELS.split()))  # none of these can tell one patient from another
KNOWN_COLUMNS = LABEL_COLUMNS.union(PATIENT_ALIASES, SIDE_ALIASES, _OTHERS.split())

_CASES = [f"{kind}_case_description_{part}_set" for kind in ("mass", "calc") for part in ("train", "test")]
_STEMS = ["labels", "metadata", "description", "train", "test", "sample_submission", "meta", "dicom_info", "inbreast"]
_STEMS += ["breast-level_annotations", "finding_annotations", "radiology-manual-annotations", *_CASES]
_STEMS += ["cmmd_clinicaldata_revision", "data-morethantwomasks"]
KNOWN_TABLES = frozenset(f"{stem}{suffix}" for stem in _STEMS for suffix in (".csv", ".xlsx", ".xls"))
