#pragma once

#include <gtest/gtest.h>

#include "base/error.h"

namespace weir::test {

/// What `action` throws. Without a throw the test fails, and goes on with an error of its own.
template <typename Action>
Error error_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error";
  return Error(ErrorKind::usage, "none");
}

}  // namespace weir::test
