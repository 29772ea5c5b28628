"""The table of keypoint layouts. docs/keypoint-formats.md shows it; a test compares the two.

`joints[i]` is the point of the file that is STANDARD joint i. Where a fact is not from the file's own documentation or code it
is listed as `unsure`; readers leave it to the lengths and bends of the hand (`plausible_hands`).
"""

from __future__ import annotations

from im2hands.hands.sides import Side
from im2hands.photographs.keypoint_layouts.layout import Axes, Layout, Missing

LEFT_RIGHT, RIGHT_LEFT, RIGHT = (Side.LEFT, Side.RIGHT), (Side.RIGHT, Side.LEFT), (Side.RIGHT,)
MANO_TIPS = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)
"""The 16 joints of MANO, then the tips of thumb, index, middle, ring and little finger."""
TIPS_FIRST = (20, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 19, 18, 17, 16)
"""Every finger from tip to base, the wrist last."""
WRIST_THEN_TIPS = (0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17)
"""The wrist, then every finger from tip to base."""
WEBXR = (0, 1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14, 16, 17, 18, 19, 21, 22, 23, 24)
"""Wrist, thumb, then fingers of five points each, whose first is the far end of the metacarpal."""
OPENXR = tuple(place + 1 for place in WEBXR)
QUEST = (0, 3, 4, 5, 19, 6, 7, 8, 20, 9, 10, 11, 21, 12, 13, 14, 22, 16, 17, 18, 23)
UMETRACK = (5, None, 6, 7, 0, 8, 9, 10, 1, 11, 12, 13, 2, 14, 15, 16, 3, 17, 18, 19, 4)

_METACARPALS = {5: (0, 0, 5), 10: (0, 0, 9), 15: (0, 0, 13), 20: (0, 0, 17)}
_RIGHT_OF_70 = tuple(place + 21 for place in TIPS_FIRST)

LAYOUTS: dict[str, Layout] = {
    "json": Layout(
        "ours",
        "JSON or Parquet: `left`, `right`; per picture, or rows with `image`",
        unit="",
        origin="world",
        missing=Missing.NULL,
        source="[Your photographs](own-images.md#keypoint-files)",
    ),
    "array": Layout(
        "ours",
        "NPY or JSON: 2 x 21 x 3, 42 x 3 (InterHand2.6M), or a stack",
        unit="",
        origin="world",
        hands=LEFT_RIGHT,
        missing=Missing.NAN,
        source="[Your photographs](own-images.md#keypoint-files)",
    ),
    "ply": Layout(
        "IntagHand, Im2Hands",
        "folder of `<name>_left.ply`, `<name>_right.ply`",
        unit="",
        origin="world",
        missing=Missing.ABSENT,
        source="[Your photographs](own-images.md#keypoint-files)",
    ),
    "landmarks": Layout(
        "ours",
        "JSON: `hands` with `side`, `pixels`, `relative`",
        unit="px",
        origin="picture",
        missing=Missing.NULL,
        source="[Your photographs](own-images.md#landmarks-of-a-detector)",
    ),
    "mediapipe": Layout(
        "MediaPipe Hands, HandLandmarker",
        "JSON of its result: handedness, landmarks (0 to 1), world landmarks; `size` of the picture",
        unit="px",
        origin="picture",
        missing=Missing.ABSENT,
        source="google-ai-edge/mediapipe, hand_landmarker.py; its result's page",
        unsure="sides in older versions (mirrored picture); origin of world landmarks",
    ),
    "openpose": Layout(
        "OpenPose",
        "`<name>_keypoints.json`, or a folder of them: people, hand_left_keypoints_2d (or _3d)",
        unit="px",
        origin="picture",
        missing=Missing.ZEROS,
        source="openpose, doc/02_output.md",
        unsure="unit of the 3-D points: that of the user's calibration",
    ),
    "wholebody": Layout(
        "MMPose, RTMPose, rtmlib, DWPose (COCO-WholeBody 133, 134, Halpe 136)",
        "JSON: instances with keypoints and keypoint_scores",
        joints=tuple(range(91, 112)),
        points=133,
        unit="px",
        origin="picture",
        hands=LEFT_RIGHT,
        second=21,
        missing=Missing.SCORE,
        source="mmpose, coco_wholebody.py, halpe.py; rtmlib, coco133.py",
    ),
    "coco": Layout(
        "COCO-WholeBody, Halpe, COCO-WholeBody-Hand, FreiHAND, OneHand10K, RHD as MMPose has them",
        "COCO JSON: images, annotations with lefthand_kpts or keypoints",
        unit="px",
        origin="picture",
        missing=Missing.ZEROS,
        source="mmpose, coco_wholebody.py, coco_wholebody_hand.py, freihand2d.py, rhd2d.py",
        unsure="side of sets of single hands; which of them have RHD's order",
    ),
    "freihand": Layout(
        "FreiHAND",
        "`training_xyz.json` (n x 21 x 3), or pred.json (keypoints, vertices)",
        hands=RIGHT,
        source="lmb-freiburg/freihand, pred.py, utils/fh_utils.py",
        unsure="metres",
    ),
    "ho3d": Layout(
        "HO-3D, H2O-3D, HOI4D",
        "pickles of `meta`, one per frame: handJoints3D, or rightHandJoints3D and leftHandJoints3D",
        joints=MANO_TIPS,
        axes=Axes.OPENGL,
        missing=Missing.ABSENT,
        source="shreyashampali/ho3d, vis_HO3D.py, vis_utils.py",
        unsure="metres; HOI4D by its author's word",
    ),
    "dexycb": Layout(
        "DexYCB",
        "labels_NNNNNN.npz, or a folder of them: joint_3d",
        missing=Missing.MINUS_ONE,
        source="NVlabs/dex-ycb-toolkit, README, dex_ycb.py, hpe_eval.py",
    ),
    "dexycb-results": Layout(
        "DexYCB, results of pose estimation",
        "text: 64 numbers per line, the number of the picture first",
        unit="",
        source="NVlabs/dex-ycb-toolkit, hpe_eval.py",
        unsure="the unit (labels are compared in mm)",
    ),
    "h2o": Layout(
        "H2O",
        "hand_pose/NNNNNN.txt: 128 numbers, flag and 63 of the left, then of the right hand",
        hands=LEFT_RIGHT,
        missing=Missing.FLAG,
        source="taeinkwon/h2odataset, README",
        unsure="order of the joints; metres",
    ),
    "interhand": Layout(
        "InterHand2.6M",
        "joint_3d.json: capture, frame, world_coord (42 x 3), joint_valid",
        joints=TIPS_FIRST,
        points=42,
        unit="mm",
        origin="world",
        hands=RIGHT_LEFT,
        second=21,
        missing=Missing.FLAG,
        source="[InterHand2.6M](real-data.md); mmpose, interhand3d.py",
    ),
    "assemblyhands": Layout(
        "AssemblyHands",
        "..._joint_3d_....json: sequence, frame, world_coord (42 x 3)",
        joints=TIPS_FIRST,
        points=42,
        unit="",
        origin="world",
        hands=RIGHT_LEFT,
        second=21,
        missing=Missing.FLAG,
        source="facebookresearch/assemblyhands-toolkit, README, dataset.py",
        unsure="millimetres",
    ),
    "rhd": Layout(
        "Rendered Handpose Dataset",
        "anno_<split>.pickle: number, xyz and uv_vis (42 x 3), K",
        joints=WRIST_THEN_TIPS,
        points=42,
        hands=LEFT_RIGHT,
        second=21,
        source="lmb-freiburg/hand3d, create_binary_db.py, BinaryDbReader.py; mmpose, rhd2d.py",
    ),
    "arctic": Layout(
        "ARCTIC",
        "splits/p*.npy: data_dict, sequence, cam_coord, joints.right and joints.left (frames x views x 21 x 3)",
        joints=MANO_TIPS,
        missing=Missing.NAN,
        source="zc-alexfan/arctic, docs/data/data_doc.md",
        unsure="order of the joints; metres",
    ),
    "hot3d": Layout(
        "HOT3D, UmeTrack (landmarks)",
        "`left`, `right` as ours, with 20 or 21 points; arrays of them with --from",
        joints=UMETRACK,
        points=20,
        origin="world",
        missing=Missing.NULL,
        source="hot3d, hand_common.py; hand_tracking_toolkit, metrics.py",
        unsure="nothing of the points; the base of the thumb is not among them and is estimated",
    ),
    "wilor": Layout(
        "HaMeR, WiLoR, WiLoR-mini, OmniHands",
        "list of dictionaries (JSON, pickle): is_right, wilor_preds or pred_keypoints_3d, pred_cam_t_full, pred_keypoints_2d",
        missing=Missing.ABSENT,
        source="hamer, mano_wrapper.py; WiLoR-mini, wilor_hand_pose3d_estimation_pipeline.py; WiLoR, demo.py",
        unsure="distance, which is right only if scaled_focal_length is the camera's",
    ),
    "hands.json": Layout(
        "NVIDIA video_to_data",
        "list: is_right, mano (betas, global_orient, hand_pose), camera",
        missing=Missing.ABSENT,
        source="v2d_wilor, image_to_hands.py",
        unsure="left hands in right-hand space, as WiLoR's; fingers without the mean pose",
    ),
    "mhr70": Layout(
        "SAM 3D Body",
        "dictionaries (JSON, pickle): pred_keypoints_3d (70 x 3), pred_keypoints_2d, pred_cam_t",
        joints=_RIGHT_OF_70,
        points=70,
        hands=RIGHT_LEFT,
        second=21,
        source="sam_3d_body, mhr70.py, sam_3d_body_estimator.py",
        unsure="metres",
    ),
    "webxr": Layout(
        "WebXR hand input",
        "`left`, `right` as ours, with 25 points; arrays of them with --from",
        joints=WEBXR,
        points=25,
        axes=Axes.OPENGL,
        origin="world",
        missing=Missing.NULL,
        extra=_METACARPALS,
        source="immersive-web/webxr-hand-input, index.bs",
    ),
    "openxr": Layout(
        "OpenXR XR_EXT_hand_tracking, Unity XR Hands",
        "`left`, `right` as ours, with 26 points; arrays of them with --from",
        joints=OPENXR,
        points=26,
        axes=Axes.OPENGL,
        origin="world",
        missing=Missing.NULL,
        extra={0: (0, 9)} | {place + 1: between for place, between in _METACARPALS.items()},
        source="OpenXR-SDK, openxr.h",
        unsure="axes of Unity XR Hands, which may be Unity's",
    ),
    "ultraleap": Layout(
        "Ultraleap, Leap Motion",
        "JSON: hands with type, arm, digits of 4 bones with prev_joint and next_joint",
        unit="mm",
        axes=Axes.OPENGL,
        origin="world",
        missing=Missing.ABSENT,
        source="leapc-python-bindings, datatypes.py; docs.ultraleap.com",
        unsure="the wrist, taken from the end of the arm",
    ),
    "quest": Layout(
        "Meta Quest, OVR skeleton",
        "`left`, `right` as ours, with 24 points; arrays of them with --from",
        joints=QUEST,
        points=24,
        axes=Axes.UNITY,
        origin="world",
        missing=Missing.NULL,
        extra={1: (0, 0), 2: (0, 1), 15: (0, 0, 17)},
        source="Unreal Bone enum; Meta's OVRSkeleton page",
        unsure="metres; which three of the four thumb bones are the joints",
    ),
    "hand-tracking-sdk": Layout(
        "Hand Tracking Streamer, hand-tracking-sdk",
        "text: lines `Right landmarks|f=..|t=..: 63 numbers` and `Right wrist: x y z qx qy qz qw`",
        axes=Axes.UNITY,
        origin="world",
        missing=Missing.ABSENT,
        source="hand_tracking_sdk 1.1.0: models.py, constants.py, parser.py, convert.py",
        unsure="metres; landmarks are taken as relative to the wrist and not turned with it",
    ),
    "soma": Layout(
        "SOMA hand",
        "`left`, `right` as ours, with 25 points and `format: soma`",
        joints=WEBXR,
        points=25,
        unit="",
        origin="world",
        missing=Missing.NULL,
        extra=_METACARPALS,
        source="soma/hand/soma.py",
        unsure="axes; inside SOMA centimetres, outside metres",
    ),
    "dex-retargeting": Layout(
        "dex-retargeting",
        "`left`, `right` as ours with `format: dex-retargeting`; arrays of them with --from",
        origin="own",
        missing=Missing.NULL,
        source="dex-retargeting, issues 13 and 33",
        unsure="about the wrist: x out of the palm, z to the fingers; where the hands are is not in the file",
    ),
    "mano": Layout(
        "MANO parameters",
        "NPZ, JSON, pickle, NPY of ARCTIC: pose (48, 45, or principal components), shape, translation",
        missing=Missing.ABSENT,
        origin="world",
        source="Romero et al., Embodied Hands (SIGGRAPH Asia 2017)",
        unsure="whether the mean pose is to be added; `flat_hand_mean` says so",
    ),
}
"""Name of a format -> its layout."""
