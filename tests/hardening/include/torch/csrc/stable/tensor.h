// In the place of torch's.
#pragma once

#include "standalone.h"
