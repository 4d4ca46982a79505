#pragma once

#include "receive/downstream_word.h"
#include "receive/mailbox.h"

namespace weir::receive {

/// The mailbox for reports of downstream clients.
using Downstream = Mailbox<DownstreamWord>;

}  // namespace weir::receive
