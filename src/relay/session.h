#pragma once

#include <memory>

#include "net/stream.h"
#include "relay/walsender.h"

namespace weir::relay {

/// Serves a client over a socket until it goes, or until the hub says to stop, on the thread that
/// calls it. Throws nothing but what is no Error.
void serve_client(std::unique_ptr<net::Stream> stream, Client client, const ServedThings& served);

}  // namespace weir::relay
