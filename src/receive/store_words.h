#pragma once

#include "receive/mailbox.h"
#include "receive/store_word.h"

namespace weir::receive {

/// The mailbox for the store's state.
using StoreWords = Mailbox<StoreWord>;

}  // namespace weir::receive
