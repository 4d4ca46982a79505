#pragma once

#include "receive/downstream_word.h"
#include "receive/mailbox.h"

namespace weir::receive {

/// Where the word of those downstream is left.
using Downstream = Mailbox<DownstreamWord>;

}  // namespace weir::receive
