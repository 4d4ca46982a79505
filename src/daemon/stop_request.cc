#include "daemon/stop_request.h"

#include <unistd.h>

#include <string_view>

namespace weir::daemon {

StopRequest::StopRequest() {
  Signals::Handlers handlers;
  handlers.stop = [this] {
    made_ = true;
    wake_.raise();
  };
  handlers.leave = [] {
    constexpr std::string_view kWord = "pgweir: terminated by a second signal\n";
    static_cast<void>(!::write(STDERR_FILENO, kWord.data(), kWord.size()));
  };
  signals_.start(std::move(handlers));
}

}  // namespace weir::daemon
