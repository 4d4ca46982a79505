#pragma once

#include <string>

#include "receive/status_board.h"

namespace weir::receive {

/// The board's content as a JSON object; see docs/status.md.
[[nodiscard]] std::string board_json(const StatusBoard::View& view);

}  // namespace weir::receive
