#pragma once

#include "base/backoff.h"

namespace weir::receive {

using weir::Backoff;

}  // namespace weir::receive
