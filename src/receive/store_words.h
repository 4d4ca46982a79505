#pragma once

#include "receive/mailbox.h"
#include "receive/store_word.h"

namespace weir::receive {

/// Where a store's word is left.
using StoreWords = Mailbox<StoreWord>;

}  // namespace weir::receive
