"""Why a network says what it says: its masks, its distances, the course of its trainings."""
