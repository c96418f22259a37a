/*
 * tests/shim/failio.h - for a test that links the failing disk into itself.
 */
#ifndef ASSENT_TESTS_SHIM_FAILIO_H
#define ASSENT_TESTS_SHIM_FAILIO_H

/* Follow this plan from the next call on, counted from 1, as if ASSENT_FAILIO had said so. */
void failio_set(const char *plan);

#endif
