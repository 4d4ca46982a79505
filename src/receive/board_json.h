#pragma once

#include <string>

#include "receive/status_board.h"

namespace weir::receive {

/// What the board shows as one JSON object; docs/status.md describes it.
[[nodiscard]] std::string board_json(const StatusBoard::View& view);

}  // namespace weir::receive
